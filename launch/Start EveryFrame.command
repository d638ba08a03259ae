#!/bin/sh
# macOS opens this in a terminal window at a double click; all the work is in the script beside it.
exec /bin/sh "$(dirname "$0")/start-everyframe.sh"
