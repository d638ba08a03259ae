#!/bin/sh
# macOS opens this in a terminal window on a double click. The other script does the work.
exec /bin/sh "$(dirname "$0")/start-everyframe.sh"
