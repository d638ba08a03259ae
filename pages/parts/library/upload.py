"""The upload field: a file picker and drop area with progress and a cancel button.

The browser sends one file after the other to `/upload`, and continues when the page is redrawn or left. All texts are
set through `textContent`, because a file name must never become markup.
"""

from collections.abc import Callable
from typing import Any

import streamlit as st

from enrich.wording import format_bytes
from pages.parts.web.uploads import NAME_HEADER, PATH, TOKEN_HEADER, TOKENS

HTML = """
<div class="drop">
  <label class="ask" for="videos">Choose videos, or drop them here</label>
  <input id="videos" type="file" accept="video/*,.mkv,.mts,.m2ts,.mxf,.vob,.insv" multiple aria-describedby="limit" />
  <p id="limit" class="limit"></p>
</div>
<div class="now" hidden>
  <p class="file"></p>
  <progress max="100" value="0" aria-label="Upload"></progress>
  <button type="button" class="cancel">Cancel upload</button>
</div>
<p class="message" role="status" aria-live="polite"></p>
<ul class="problems"></ul>
"""

CSS = """
:host { display: block; font-family: var(--st-font); color: var(--st-text-color); }
p { margin: 0; }
.drop {
  display: flex; flex-direction: column; gap: 0.5rem; padding: 1rem;
  border: 1px dashed var(--st-border-color); border-radius: var(--st-base-radius);
  background: var(--st-secondary-background-color);
}
.drop.over { border-color: var(--st-primary-color); border-style: solid; }
.ask { font-weight: 600; }
.limit, .message, .file { font-size: 0.875rem; overflow-wrap: anywhere; }
input { color: inherit; font: inherit; font-size: 0.875rem; max-width: 100%; }
input::file-selector-button, .cancel {
  font: inherit; color: var(--st-text-color); background: var(--st-background-color); cursor: pointer;
  border: 1px solid var(--st-border-color); border-radius: var(--st-base-radius);
  padding: 0.35rem 0.75rem; margin-inline-end: 0.75rem;
}
input:focus-visible, .cancel:focus-visible { outline: 2px solid var(--st-primary-color); outline-offset: 2px; }
.now { display: flex; flex-direction: column; gap: 0.5rem; padding-block: 0.75rem; align-items: flex-start; }
.now[hidden] { display: none; }
progress { width: 100%; accent-color: var(--st-primary-color); }
.message:not(:empty) { padding-block-start: 0.5rem; }
.problems { margin: 0.5rem 0 0; padding-inline-start: 1.25rem; font-size: 0.875rem; overflow-wrap: anywhere; }
.problems:empty { display: none; }
"""

# The queue is stored on `window`, so it outlives a redraw of this component, which then attaches to it again.
JS = """
const work = (window.everyframeUpload ??= {
  queue: [], current: null, request: null, sent: 0, began: 0, done: 0, problems: [], message: "", ui: null,
});

function size(bytes) {
  for (const unit of ["B", "kB", "MB", "GB"]) {
    if (bytes < 1000) return (unit === "B" || unit === "kB" ? bytes.toFixed(0) : bytes.toFixed(1)) + " " + unit;
    bytes /= 1000;
  }
  return bytes.toFixed(1) + " TB";
}

function span(seconds) {
  if (seconds < 90) return Math.max(1, Math.round(seconds)) + " s";
  return seconds < 5400 ? Math.round(seconds / 60) + " min" : (seconds / 3600).toFixed(1) + " h";
}

function draw() {
  const ui = work.ui;
  if (!ui) return;
  const file = work.current;
  ui.now.hidden = !file;
  if (file) {
    const isSent = work.sent >= file.size;
    const seconds = (Date.now() - work.began) / 1000;
    const left = work.sent > 0 && seconds > 2 ? ", " + span(seconds * (file.size / work.sent - 1)) + " left" : "";
    const more = work.queue.length ? " (" + work.queue.length + " more queued)" : "";
    ui.file.textContent = file.name + more + ": "
      + (isSent ? "checking file" : size(work.sent) + " of " + size(file.size) + left);
    ui.progress.value = file.size ? Math.floor(100 * work.sent / file.size) : 0;
    ui.progress.setAttribute("aria-valuetext", ui.progress.value + " %");
  }
  if (ui.message.textContent !== work.message) ui.message.textContent = work.message;
  ui.problems.replaceChildren(...work.problems.map((text) => {
    const line = document.createElement("li");
    line.textContent = text;
    return line;
  }));
}

function next() {
  work.current = work.queue.shift() ?? null;
  work.request = null;
  work.sent = 0;
  work.began = Date.now();
  if (work.current) send(work.current);
  else window.removeEventListener("beforeunload", warn);
  draw();
}

function warn(event) { event.preventDefault(); }

function fail(file, reason) {
  work.problems = [...work.problems, file.name + ": " + reason].slice(-20);
  work.message = "";
}

function send(file) {
  if (file.size === 0) { fail(file, "the file is empty"); next(); return; }
  if (file.size > work.limit) { fail(file, "larger than the maximum of " + work.room); next(); return; }
  const request = new XMLHttpRequest();
  work.request = request;
  request.open("POST", work.path);
  request.setRequestHeader(work.tokenHeader, work.token);
  request.setRequestHeader(work.nameHeader, encodeURIComponent(file.name.toWellFormed?.() ?? file.name));
  request.setRequestHeader("Content-Type", "application/octet-stream");
  request.upload.onprogress = (event) => { work.sent = event.loaded; draw(); };
  request.onload = () => {
    let answer = {};
    try { answer = JSON.parse(request.responseText); } catch { /* reported below */ }
    if (request.status === 201) {
      work.done += 1;
      work.message = "Uploaded: " + answer.title + ". Selected below; add it to the library to continue.";
      work.ui?.trigger("done", work.done);
    } else fail(file, answer.error ?? "the upload was rejected. Reload the page and try again.");
    next();
  };
  request.onerror = () => { fail(file, "connection lost. Check that the dashboard is running."); next(); };
  request.onabort = () => { fail(file, "cancelled"); next(); };
  request.send(file);
}

function enqueue(files) {
  if (!files.length) return;
  work.queue.push(...files);
  window.addEventListener("beforeunload", warn);
  if (!work.current) { work.problems = []; work.message = ""; next(); }
  else draw();
}

export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  const find = (name) => parentElement.querySelector(name);
  Object.assign(work, data);
  const [drop, input] = [find(".drop"), find("input")];
  const ui = {
    now: find(".now"), file: find(".file"), progress: find("progress"),
    message: find(".message"), problems: find(".problems"),
    trigger: (name, value) => setTriggerValue(name, value),
  };
  work.ui = ui;
  find(".limit").textContent = data.note;
  input.onchange = () => { enqueue([...input.files]); input.value = ""; };
  find(".cancel").onclick = () => work.request?.abort();
  drop.ondragover = (event) => { event.preventDefault(); drop.classList.add("over"); };
  drop.ondragleave = () => drop.classList.remove("over");
  drop.ondrop = (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    enqueue([...event.dataTransfer.files]);
  };
  draw();
  return () => { if (work.ui === ui) work.ui = null; };
}
"""

_component = st.components.v2.component("everyframe_upload", html=HTML, css=CSS, js=JS)


def draw_upload(max_bytes: int, on_done: Callable[[], None]) -> None:
    """Draw the field. `max_bytes`: largest accepted file; `on_done` is called after each upload."""
    token = st.session_state.setdefault("upload-token", "")
    if not TOKENS.is_valid(token):
        token = st.session_state["upload-token"] = TOKENS.issue()
    data: dict[str, Any] = {
        "path": PATH,
        "token": token,
        "tokenHeader": TOKEN_HEADER,
        "nameHeader": NAME_HEADER,
        "limit": max_bytes,
        "room": format_bytes(max_bytes),
        "note": f"Maximum upload {format_bytes(max_bytes)} (free disk space). Uploads go to EveryFrame's data folder. "
        "Videos that are already on this computer need no upload: select them under Folders.",
    }
    _component(key="upload", data=data, on_done_change=on_done)
