// Sends chosen files one after the other: announce (POST), stream (PUT), report the ids when all have ended.
const states = new WeakMap();

function token() {
  const found = document.cookie.split("; ").find((part) => part.startsWith("_streamlit_xsrf="));
  return found ? found.slice("_streamlit_xsrf=".length) : "";
}

function bytes(n) {
  const units = ["B", "kB", "MB", "GB"];
  let i = 0;
  while (n >= 1000 && i < units.length - 1) { n /= 1000; i += 1; }
  return `${i ? n.toFixed(1) : n} ${units[i]}`;
}

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;  // never markup: names come from outside
  return made;
}

function saying(text) {
  try {
    const error = JSON.parse(text);
    return [error.what, error.why, error.todo].filter(Boolean).join(" ");
  } catch { return ""; }
}

async function announce(url, file) {
  const answer = await fetch(url, {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-Xsrftoken": token() },
    body: JSON.stringify({ name: file.name, size: file.size }),
  });
  const text = await answer.text();
  if (!answer.ok) throw new Error(saying(text) || `The server answered ${answer.status}.`);
  return JSON.parse(text).id;
}

function stream(url, file, row) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const began = performance.now();
    request.open("PUT", url);
    request.setRequestHeader("X-Xsrftoken", token());
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.upload.onprogress = (event) => {
      const seconds = (performance.now() - began) / 1000;
      row.bar.value = file.size ? event.loaded / file.size : 1;
      row.state.textContent =
        `${bytes(event.loaded)} of ${bytes(file.size)}` + (seconds > 0.5 ? `, ${bytes(event.loaded / seconds)}/s` : "");
    };
    request.upload.onload = () => { row.state.textContent = "checking"; };
    request.onload = () => {
      if (request.status === 200) resolve(JSON.parse(request.responseText));
      else reject(new Error(saying(request.responseText) || `The server answered ${request.status}.`));
    };
    request.onerror = () => reject(new Error("The connection broke off. Nothing was kept; choose the file again."));
    request.onabort = () => reject(new Error("Cancelled. Nothing was kept."));
    row.stop = () => request.abort();
    request.send(file);
  });
}

function entry(list, file) {
  const item = element("li");
  const row = { item, stop: () => {}, state: element("span", "state", "waiting"), bar: element("progress") };
  row.cancelled = false;
  row.bar.max = 1;
  row.bar.value = 0;
  row.bar.setAttribute("aria-label", `Upload of ${file.name}`);
  row.button = element("button", "", "Cancel");
  row.button.type = "button";
  row.button.setAttribute("aria-label", `Cancel the upload of ${file.name}`);
  row.button.onclick = () => { row.cancelled = true; row.stop(); };
  item.append(element("span", "name", file.name), row.state, row.button, row.bar);
  list.append(item);
  return row;
}

async function send(file, row, url) {
  if (row.cancelled) throw new Error("Cancelled. Nothing was kept.");
  row.state.textContent = "starting";
  const id = await announce(url, file);
  try {
    if (row.cancelled) throw new Error("Cancelled. Nothing was kept.");
    const stored = await stream(`${url}/${id}`, file, row);
    row.state.textContent = bytes(stored.size);
    return { id: stored.id, name: stored.name, size: stored.size };
  } catch (error) {
    fetch(`${url}/${id}`, { method: "DELETE", headers: { "X-Xsrftoken": token() } }).catch(() => {});
    throw error;
  } finally {
    row.button.remove();
    row.bar.remove();
  }
}

async function take(state, files) {
  if (state.busy || !files.length) return;
  state.busy = true;
  state.input.disabled = true;
  state.list.replaceChildren();
  const chosen = [...files].sort((a, b) => a.name.localeCompare(b.name, undefined, { numeric: true }));
  const rows = (state.rows = chosen.map((file) => entry(state.list, file)));
  const finished = [];
  for (const [i, file] of chosen.entries()) {
    try {
      finished.push(await send(file, rows[i], state.component.data.url));
    } catch (error) {
      rows[i].button.remove();
      rows[i].bar.remove();
      rows[i].state.textContent = "not uploaded";
      const text = element("div", "error", error.message);
      text.setAttribute("role", "alert");
      rows[i].item.append(text);
    }
  }
  state.busy = false;
  state.input.disabled = false;
  state.input.value = "";
  if (finished.length && !state.gone) state.component.setTriggerValue("finished", finished);
}

function build(root) {
  const box = root.querySelector(".uploader");
  const drop = element("label", "drop");
  const input = element("input");
  const words = element("span");
  const state = { busy: false, gone: false, rows: [], input, list: element("ul"), component: null };
  state.label = element("div", "label");
  state.hint = element("div", "hint");
  input.type = "file";
  words.append(state.label, state.hint);
  state.choose = element("span", "choose");
  drop.append(input, state.choose, words);
  box.replaceChildren(drop, state.list);
  input.onchange = () => take(state, input.files);
  drop.ondragover = (event) => { event.preventDefault(); drop.classList.add("over"); };
  drop.ondragleave = () => drop.classList.remove("over");
  drop.ondrop = (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    const files = [...event.dataTransfer.files];
    take(state, input.multiple ? files : files.slice(0, 1));
  };
  state.leaving = (event) => { if (state.busy) event.preventDefault(); };
  window.addEventListener("beforeunload", state.leaving);
  return state;
}

export default function (component) {
  const root = component.parentElement;
  let state = states.get(root);
  if (!state || !state.list.isConnected) {
    state = build(root);
    states.set(root, state);
  }
  const { label, hint, accept, multiple } = component.data;
  state.component = component;
  state.label.textContent = label;
  state.hint.textContent = hint;
  state.choose.textContent = multiple ? "Choose files" : "Choose a file";
  state.input.accept = accept;
  state.input.multiple = multiple;
  state.input.setAttribute("aria-label", label);
  return () => {
    state.gone = true;
    window.removeEventListener("beforeunload", state.leaving);
    for (const row of state.rows) { row.cancelled = true; row.stop(); }
  };
}
