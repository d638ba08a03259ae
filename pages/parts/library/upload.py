"""The face of an upload: a file field that films can also be dropped on, with progress and a way to cancel.

The browser sends each file as it is to `/upload`, one after the other, whether or not the page is drawn anew or left
meanwhile. All that is shown goes through `textContent`: a file's name is text.
"""

from collections.abc import Callable
from typing import Any

import streamlit as st

from enrich.wording import size
from pages.parts.web.uploads import NAME_HEADER, PATH, TOKEN_HEADER, TOKENS

HTML = """
<div class="drop">
  <label class="ask" for="films">Choose films, or drop them here</label>
  <input id="films" type="file" accept="video/*,.mkv,.mts,.m2ts,.mxf,.vob,.insv" multiple aria-describedby="limit" />
  <p id="limit" class="limit"></p>
</div>
<div class="now" hidden>
  <p class="what"></p>
  <progress max="100" value="0" aria-label="Upload"></progress>
  <button type="button" class="cancel">Cancel the upload</button>
</div>
<p class="said" role="status" aria-live="polite"></p>
<ul class="trouble"></ul>
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
.limit, .said, .what { font-size: 0.875rem; overflow-wrap: anywhere; }
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
.said:not(:empty) { padding-block-start: 0.5rem; }
.trouble { margin: 0.5rem 0 0; padding-inline-start: 1.25rem; font-size: 0.875rem; overflow-wrap: anywhere; }
.trouble:empty { display: none; }
"""

# What is under way outlives the page: it lies beside the document, and every drawing of this part takes it up again.
JS = """
const work = (window.everyframeUpload ??= {
  queue: [], current: null, request: null, sent: 0, began: 0, done: 0, trouble: [], said: "", face: null,
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
  const face = work.face;
  if (!face) return;
  const file = work.current;
  face.now.hidden = !file;
  if (file) {
    const isSent = work.sent >= file.size;
    const seconds = (Date.now() - work.began) / 1000;
    const left = work.sent > 0 && seconds > 2 ? ", " + span(seconds * (file.size / work.sent - 1)) + " left" : "";
    const more = work.queue.length ? " (" + work.queue.length + " more after it)" : "";
    face.what.textContent = file.name + more + ": "
      + (isSent ? "looking at what it is" : size(work.sent) + " of " + size(file.size) + left);
    face.progress.value = file.size ? Math.floor(100 * work.sent / file.size) : 0;
    face.progress.setAttribute("aria-valuetext", face.progress.value + " %");
  }
  if (face.said.textContent !== work.said) face.said.textContent = work.said;
  face.trouble.replaceChildren(...work.trouble.map((text) => {
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
  work.trouble = [...work.trouble, file.name + ": " + reason].slice(-20);
  work.said = "";
}

function send(file) {
  if (file.size === 0) { fail(file, "This file is empty."); next(); return; }
  if (file.size > work.limit) { fail(file, "There is room for " + work.room + " only."); next(); return; }
  const request = new XMLHttpRequest();
  work.request = request;
  request.open("POST", work.path);
  request.setRequestHeader(work.tokenHeader, work.token);
  request.setRequestHeader(work.nameHeader, encodeURIComponent(file.name.toWellFormed?.() ?? file.name));
  request.setRequestHeader("Content-Type", "application/octet-stream");
  request.upload.onprogress = (event) => { work.sent = event.loaded; draw(); };
  request.onload = () => {
    let answer = {};
    try { answer = JSON.parse(request.responseText); } catch { /* said below */ }
    if (request.status === 201) {
      work.done += 1;
      work.said = "Uploaded: " + answer.title + ". It is chosen below, and waits until you add it.";
      work.face?.tell("done", work.done);
    } else fail(file, answer.error ?? "The dashboard did not take it. Load the page again and try once more.");
    next();
  };
  request.onerror = () => { fail(file, "The upload broke off. Is the dashboard still running?"); next(); };
  request.onabort = () => { fail(file, "Cancelled; nothing of it is kept."); next(); };
  request.send(file);
}

function take(files) {
  if (!files.length) return;
  work.queue.push(...files);
  window.addEventListener("beforeunload", warn);
  if (!work.current) { work.trouble = []; work.said = ""; next(); }
  else draw();
}

export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  const find = (name) => parentElement.querySelector(name);
  Object.assign(work, data);
  const [drop, input] = [find(".drop"), find("input")];
  const face = {
    now: find(".now"), what: find(".what"), progress: find("progress"), said: find(".said"), trouble: find(".trouble"),
    tell: (name, value) => setTriggerValue(name, value),
  };
  work.face = face;
  find(".limit").textContent = data.note;
  input.onchange = () => { take([...input.files]); input.value = ""; };
  find(".cancel").onclick = () => work.request?.abort();
  drop.ondragover = (event) => { event.preventDefault(); drop.classList.add("over"); };
  drop.ondragleave = () => drop.classList.remove("over");
  drop.ondrop = (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    take([...event.dataTransfer.files]);
  };
  draw();
  return () => { if (work.face === face) work.face = null; };
}
"""

_face = st.components.v2.component("everyframe_upload", html=HTML, css=CSS, js=JS)


def upload_face(room: int, on_done: Callable[[], None]) -> None:
    """Draw it. `room`: bytes that may be taken; `on_done` is called whenever another film is there."""
    token = st.session_state.setdefault("upload-token", "")
    if not TOKENS.is_valid(token):
        token = st.session_state["upload-token"] = TOKENS.issue()
    data: dict[str, Any] = {
        "path": PATH,
        "token": token,
        "tokenHeader": TOKEN_HEADER,
        "nameHeader": NAME_HEADER,
        "limit": room,
        "room": size(room),
        "note": f"Up to {size(room)}: what is free on this disk beside the reserve. Films are copied into EveryFrame's "
        "own folder; those that are on this computer already need no copy: choose them from the folders instead.",
    }
    _face(key="upload-face", data=data, on_done_change=on_done)
