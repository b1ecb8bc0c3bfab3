// Rows of a run as a table, or as a list beside the one that is open. Walking, selecting and opening happen here at once;
// the server hears of it afterwards. Texts come from outside: they are only ever set as textContent.
const states = new WeakMap();
// What outlives the list when the page around it is drawn anew: the selected rows of each run, and a search that waits.
const kept = globalThis.lacunaRows ??= { selected: {}, searching: false };
// Milliseconds without a step before the server is told which row is open.
const REST = 160;
// Milliseconds after which an answer that never came is no longer waited for.
const WAIT = 4000;
// Cells of the table that a difference of two texts may fill; longer ones are marked whole.
const CELLS = 2_000_000;
// Words of a text in the table, and how many of them stand before the first difference.
const SHOWN = 60, BEFORE = 6;
const KEYS = [
  ["j, k", "next and previous row"], ["o, Enter", "open the row"], ["Esc", "back to the table"], ["/", "search"],
  ["x", "select the row"], ["t", "tag the selected rows"], ["e", "override the selected rows"], ["?", "these keys"],
];
const BULK = [
  ["tag", "Tag", "t"], ["override", "Override", "e"], ["exclude", "Exclude"], ["set", "Make a set"], ["treat", "Treat"],
];

function make(tag, name, ...children) {
  const element = document.createElement(tag);
  if (name) element.className = name;
  element.append(...children.filter((child) => child !== null));
  return element;
}

function button(label, act, name = "", help = "") {
  const made = make("button", name, label);
  made.type = "button";
  if (help) made.title = help;
  made.addEventListener("click", (event) => { event.stopPropagation(); act(); });
  return made;
}

// The text with every occurrence of the searched words marked, whatever their case.
function marked(text, query) {
  const folded = text.toLowerCase(), wanted = query.toLowerCase();
  if (!wanted || folded.length !== text.length) return [document.createTextNode(text)];
  const out = [];
  let from = 0;
  for (let at = folded.indexOf(wanted); at >= 0; at = folded.indexOf(wanted, from)) {
    if (at > from) out.push(document.createTextNode(text.slice(from, at)));
    out.push(make("mark", "", text.slice(at, at + wanted.length)));
    from = at + wanted.length;
  }
  if (from < text.length || !out.length) out.push(document.createTextNode(text.slice(from)));
  return out;
}

function words(text) { return text.match(/\s+|[\p{L}\p{N}_]+|[^\s\p{L}\p{N}_]/gu) ?? []; }

// Which words of two texts the other one lacks: two lists of [word, differs].
export function compared(left, right) {
  let start = 0, end = 0;
  while (start < left.length && start < right.length && left[start] === right[start]) start += 1;
  while (end < left.length - start && end < right.length - start && left.at(-1 - end) === right.at(-1 - end)) end += 1;
  const a = left.slice(start, left.length - end), b = right.slice(start, right.length - end);
  const keep = [new Uint8Array(a.length), new Uint8Array(b.length)];
  if (a.length * b.length <= CELLS) {
    const wide = b.length + 1, longest = new Uint16Array((a.length + 1) * wide);
    for (let i = a.length - 1; i >= 0; i -= 1) {
      for (let j = b.length - 1; j >= 0; j -= 1) {
        longest[i * wide + j] = a[i] === b[j] ? longest[(i + 1) * wide + j + 1] + 1
          : Math.max(longest[(i + 1) * wide + j], longest[i * wide + j + 1]);
      }
    }
    for (let i = 0, j = 0; i < a.length && j < b.length;) {
      if (a[i] === b[j]) { keep[0][i] = keep[1][j] = 1; i += 1; j += 1; }
      else if (longest[(i + 1) * wide + j] >= longest[i * wide + j + 1]) i += 1;
      else j += 1;
    }
  }
  const told = (all, middle, kept) => all.map((word, i) => [
    word, i >= start && i < start + middle.length && !kept[i - start],
  ]);
  return [told(left, a, keep[0]), told(right, b, keep[1])];
}

// Target or output with the words marked that the other lacks; `short`: as much of it as a cell of the table has room for.
function difference(mine, other, tag, query, short) {
  if (mine === null) return [make("span", "none", "not generated")];
  if (other === null) return marked(mine, query);
  let [told] = compared(words(mine), words(other));
  const cut = [];
  if (short) {
    const first = told.findIndex(([, differs]) => differs), from = first > SHOWN / 2 ? first - BEFORE : 0;
    if (from) cut.push(document.createTextNode("…"));
    told = told.slice(from, from + SHOWN);
  }
  const parts = [];
  for (const [word, differs] of told) {
    if (parts.length && parts.at(-1)[1] === differs) parts.at(-1)[0] += word;
    else parts.push([word, differs]);
  }
  if (!parts.length) return [make("span", "none", "(empty)")];
  return [...cut, ...parts.flatMap(([text, differs]) => differs ? [make(tag, "", ...marked(text, query))] : marked(text, query))];
}

function chip(value) {
  const made = make("span", "chip", value.text);
  made.style.backgroundColor = value.colour;
  made.style.color = value.ink;
  return made;
}

// A loss from checkpoint to checkpoint. Every line of the run has the same scale, and the base stands first.
function line(values, scale) {
  const space = "http://www.w3.org/2000/svg", svg = document.createElementNS(space, "svg");
  svg.setAttribute("viewBox", "0 0 80 22");
  svg.setAttribute("class", "line");
  const at = (value, i) => [2 + (76 * i) / Math.max(values.length - 1, 1), 20 - 18 * Math.min(value / scale, 1)];
  const path = document.createElementNS(space, "polyline");
  path.setAttribute("points", values.map((value, i) => at(value, i).join(",")).join(" "));
  const end = document.createElementNS(space, "circle"), [x, y] = at(values.at(-1), values.length - 1);
  for (const [name, value] of [["cx", x], ["cy", y], ["r", 2]]) end.setAttribute(name, value);
  svg.append(path, end);
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", `Loss ${values.map((value) => value.toFixed(2)).join(", ")}`);
  const title = document.createElementNS(space, "title");
  title.textContent = `Loss ${values.map((value) => value.toFixed(3)).join(" → ")}`;
  svg.prepend(title);
  return svg;
}

function cell(row, column, data) {
  const value = row.cells[column.name];
  const made = make("td", column.kind);
  if (column.kind === "target") made.append(...difference(row.target, row.output, "del", data.query, true));
  else if (column.kind === "output") made.append(...difference(row.output, row.target, "ins", data.query, true));
  else if (value === null || value === undefined) made.append(make("span", "none", "–"));
  else if (column.kind === "chip") made.append(...[value].flat().map(chip));
  else if (column.kind === "line") made.append(line(value, data.scale));
  else made.append(...marked(value, column.kind === "text" ? data.query : ""));
  if (column.kind === "text") made.firstChild.parentElement.title = value ?? "";
  return made;
}

function box(row, state) {
  const tick = make("input");
  tick.type = "checkbox";
  tick.checked = state.selected.has(row.sid);
  tick.setAttribute("aria-label", `Select ${row.name}`);
  tick.addEventListener("click", (event) => event.stopPropagation());
  tick.addEventListener("change", () => { state.toggle(row.sid); });
  return tick;
}

function heading(column, data, state) {
  const head = make("th", column.kind);
  head.scope = "col";
  head.title = column.help;
  const [name, down] = data.sort;
  if (column.name === name) head.setAttribute("aria-sort", down ? "descending" : "ascending");
  const label = column.name === name ? `${column.label} ${down ? "↓" : "↑"}` : column.label;
  head.append(column.sort ? button(label, () => state.act("sort", { column: column.name })) : label);
  return head;
}

function table(data, state) {
  const all = make("input");
  all.type = "checkbox";
  all.setAttribute("aria-label", "Select all rows of this page");
  all.checked = data.rows.length > 0 && data.rows.every((row) => state.selected.has(row.sid));
  all.addEventListener("change", () => state.select(all.checked ? data.rows.map((row) => row.sid) : []));
  const head = make("tr", "", make("th", "tick", all), ...data.columns.map((column) => heading(column, data, state)));
  const body = data.rows.map((row) => {
    const made = make("tr", "row", make("td", "tick", box(row, state)), ...data.columns.map((c) => cell(row, c, data)));
    made.dataset.sid = row.sid;
    made.addEventListener("click", () => state.open(row.sid));
    return made;
  });
  return make("div", "scroll", make("table", "", make("thead", "", head), make("tbody", "", ...body)));
}

function list(data, state) {
  const rows = data.rows.map((row) => {
    const mark = make("span", "dot", row.mark);
    mark.style.backgroundColor = row.chips[0].colour;
    mark.style.color = row.chips[0].ink;
    mark.title = row.status;
    const made = make("div", "row", box(row, state), mark, make("span", "ask", ...marked(row.title, data.query)));
    made.dataset.sid = row.sid;
    made.addEventListener("click", () => state.open(row.sid));
    return made;
  });
  const ways = make("div", "ways", button("Back to the table", state.close, "", "Esc"), button("Keys", state.help, "", "?"));
  return make("nav", "list", ways, make("div", "scroll", ...rows));
}

function talk(turns, query) {
  if (turns.length === 1) return make("div", "text", ...marked(turns[0][1] || "(empty)", query));
  return make("div", "text talk", ...turns.flatMap(([role, text]) => [
    make("span", "role", role), make("span", "said", ...marked(text || "(empty)", query)),
  ]));
}

// One button a row, however often its card is drawn anew: what it says after a click would be lost with it.
function linkOf(row, data) {
  const of = `${data.run} ${row.sid}`;
  if (kept.link?.dataset.of !== of) {
    const link = kept.link = button("Copy link", () => copied(link, { run: data.run, sample: row.sid }), "quiet", "the address of this row");
    link.dataset.of = of;
  }
  return kept.link;
}

function card(row, data, state) {
  const title = make("h1", "", row.title);
  const verdict = make("div", "verdict", ...row.chips.map(chip), make("span", "sentence", row.sentence));
  const acts = row.acts.map((act, i) => {
    return button(act.label, () => state.act(act.do, { sids: [row.sid] }), i ? "" : "first", act.help);
  });
  const own = [["tag", "Tag", "t"], ["override", "Override", "e"]].map(([name, label, key]) => {
    return button(label, () => state.act(name, { sids: [row.sid] }), "quiet", key);
  });
  const pair = make("div", "pair",
    make("section", "", make("h2", "", row.turn ? `Target, ${row.turn}` : "Target"),
      make("div", "text", ...difference(row.target, row.output, "del", data.query, false))),
    make("section", "", make("h2", "", row.judged ? `Output, ${row.judged}` : "Output"),
      make("div", "text", ...difference(row.output, row.target, "ins", data.query, false))));
  return make("article", "card", title, make("p", "facts", row.facts), verdict, make("div", "acts", ...acts, ...own, linkOf(row, data)),
    row.prompt.length ? make("section", "", make("h2", "", "Prompt"), talk(row.prompt, data.query)) : null, pair);
}

function bulk(state) {
  const n = state.selected.size;
  if (!n) return null;
  const all = () => ({ sids: [...state.selected] });
  return make("div", "bulk", make("strong", "", n === 1 ? "1 row selected" : `${n} rows selected`),
    ...BULK.map(([name, label, key]) => button(label, () => state.act(name, all()), "", key ?? "")),
    button("Clear", () => state.select([]), "quiet"));
}

function help(state) {
  const keys = KEYS.flatMap(([key, what]) => [make("kbd", "", key), make("span", "", what)]);
  const made = make("div", "help", make("h2", "", "Keys"), make("div", "keys", ...keys), button("Close", state.help));
  made.setAttribute("role", "dialog");
  made.setAttribute("aria-label", "Keys");
  return made;
}

// The next row of the same list: its card alone is drawn anew.
function show(state) {
  const row = state.data.rows.find((one) => one.sid === state.opened), shown = state.root.querySelector(".card");
  if (!row || !shown) { draw(state); return; }
  shown.replaceWith(card(row, state.data, state));
  point(state);
}

function draw(state) {
  const { data, root } = state, row = data.rows.find((one) => one.sid === state.opened);
  const before = root.querySelector(".scroll")?.scrollTop ?? 0, beside = root.querySelector(".list .scroll") !== null;
  const shown = row ? [make("div", "split", list(data, state), card(row, data, state))] : [table(data, state)];
  const bar = bulk(state);
  root.replaceChildren(...(bar ? [bar] : []), ...shown, ...(state.helping ? [help(state)] : []));
  const scroll = root.querySelector(".scroll");
  if (beside === Boolean(row)) scroll.scrollTop = before;
  point(state);
}

// The row that keys act on, kept in sight inside its own list; the page itself stays where it is.
function point(state) {
  const scroll = state.root.querySelector(".scroll");
  for (const element of state.root.querySelectorAll(".row")) {
    const on = element.dataset.sid === state.active;
    element.classList.toggle("active", on);
    element.classList.toggle("selected", state.selected.has(element.dataset.sid));
    if (on) element.setAttribute("aria-current", "true"); else element.removeAttribute("aria-current");
    if (!on || !scroll) continue;
    const { top, bottom } = element.getBoundingClientRect(), area = scroll.getBoundingClientRect();
    if (top < area.top + 36) scroll.scrollTop -= area.top + 36 - top;
    if (bottom > area.bottom) scroll.scrollTop += bottom - area.bottom;
  }
}

function step(state, by) {
  const { rows, before, behind } = state.data, at = rows.findIndex((row) => row.sid === state.active);
  const next = at < 0 ? 0 : at + by;
  if (rows[next]) {
    state.active = rows[next].sid;
    if (state.opened) state.open(state.active); else point(state);
  } else if (by > 0 ? behind : before) {
    state.act("beyond", { by });
  }
}

function search(state) {
  const field = document.querySelector('input[aria-label="Text"]');
  if (field) { field.focus(); field.select(); }
  else if (state.opened) { kept.searching = true; state.close(); }
}

// Puts the cursor into the search field as soon as it is there.
function focus(tries = 40) {
  const field = document.querySelector('input[aria-label="Text"]');
  if (field) field.focus();
  if (field || !tries) kept.searching = false; else setTimeout(() => focus(tries - 1), 50);
}

function typing(event) {
  const target = event.composedPath()[0];
  return target instanceof HTMLElement && target.matches('input:not([type=checkbox]), textarea, select, [contenteditable=true]');
}

// Whether Enter belongs to what has the focus: a button, a link, a field.
function onControl(event) {
  const control = "button, a, input, summary, [role=button], [role=tab], [role=option], [role=combobox]";
  return event.composedPath().some((node) => node instanceof HTMLElement && node.matches(control));
}

function pressed(state, event) {
  if (event.ctrlKey || event.metaKey || event.altKey || typing(event)) return;
  if (kept.searching) return;  // what is typed is meant for the field that comes
  if (document.querySelector('[role=dialog]')) return;  // a form of the page is open
  if (event.key === "Enter" && (onControl(event) || !state.active || state.opened)) return;
  const these = () => ({ sids: state.selected.size ? [...state.selected] : state.active ? [state.active] : [] });
  const acts = {
    j: () => step(state, 1), k: () => step(state, -1),
    o: () => state.active && state.open(state.active),
    Enter: () => state.open(state.active),
    Escape: () => { if (state.helping) state.help(); else if (state.opened) state.close(); },
    "/": () => search(state), "?": state.help,
    x: () => state.active && state.toggle(state.active),
    t: () => these().sids.length && state.act("tag", these()),
    e: () => these().sids.length && state.act("override", these()),
  };
  if (!acts[event.key]) return;
  event.preventDefault();
  acts[event.key]();
}

function begin(root, run) {
  const state = { root, selected: kept.selected[run] ??= new Set(), opened: null, active: null, waiting: null, timer: 0, helping: false };
  state.act = (what, more = {}) => state.send("act", { do: what, ...more });
  state.tell = (sid) => {
    clearTimeout(state.timer);
    state.waiting = { sid, since: performance.now() };
    state.timer = setTimeout(() => { state.timer = 0; state.act("open", { sid }); }, sid === null ? 0 : REST);
  };
  state.open = (sid) => { state.opened = state.active = sid; state.tell(sid); show(state); };
  state.close = () => { state.opened = null; state.tell(null); draw(state); };
  state.select = (sids) => { state.selected = kept.selected[run] = new Set(sids); draw(state); };
  state.toggle = (sid) => {
    if (!state.selected.delete(sid)) state.selected.add(sid);
    state.active = sid;
    draw(state);
  };
  state.help = () => { state.helping = !state.helping; draw(state); };
  return state;
}

// What the server says is open counts, unless a later step of this page is still on its way to it.
function follow(state, open) {
  const { waiting } = state;
  if (waiting && waiting.sid !== open && performance.now() - waiting.since < WAIT) return;
  state.waiting = null;
  if (state.opened !== open) { state.opened = open; state.active = open ?? state.active; }
}

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".rows");
  if (!states.has(root)) states.set(root, begin(root, data.run));
  const state = states.get(root);
  state.data = data;
  state.send = setTriggerValue;
  // While a page is drawn anew, the list it had may stand a moment longer, and the open row would be seen twice.
  if (kept.root && kept.root !== root) kept.root.replaceChildren();
  kept.root = root;
  follow(state, data.open);
  if (data.clear && data.clear !== kept.cleared) { kept.cleared = data.clear; state.selected.clear(); }
  if (!data.rows.some((row) => row.sid === state.active)) state.active = state.opened;
  draw(state);
  if (kept.searching && !data.open) focus();
  // One listener, whatever was drawn before: with two of them a key that switches would switch back.
  document.removeEventListener("keydown", kept.listen);
  const listen = kept.listen = (event) => pressed(state, event);
  document.addEventListener("keydown", listen);
  // Going back may come before the server has drawn what was opened; it then sends what is here already, and nothing is
  // drawn anew. So the address says at once what is open.
  window.removeEventListener("popstate", kept.moved);
  const moved = kept.moved = () => {
    clearTimeout(state.timer);
    const sid = new URLSearchParams(window.location.search).get("sample");
    state.opened = state.data.rows.some((row) => row.sid === sid) ? sid : null;
    state.active = state.opened ?? state.active;
    // What was opened before may still arrive; it must not undo the step back.
    state.waiting = { sid: state.opened, since: performance.now() };
    draw(state);
  };
  window.addEventListener("popstate", moved);
  return () => {
    document.removeEventListener("keydown", listen);
    window.removeEventListener("popstate", moved);
  };
}
