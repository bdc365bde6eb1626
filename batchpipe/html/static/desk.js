// The review desk: one row, one decision. Rows are here before they are wanted; words leave in groups, and stay in the
// browser until the server has recorded them. Every text is set as text, never as HTML.
"use strict";

const desk = document.getElementById("desk");
const AHEAD = 60, FEW = 30, FLUSH_MS = 500, MOST_WORDS = 200, SHOWN = 9, LONG = 400;
const ACTIONS = [
  ["accept", "a", "take the row as it stands here"], ["undo", "u", "take your last review back"],
  ["skip", "s", "skip the row"], ["back", "b", "back to the row before"], ["next", "n", "the next field"],
  ["look", "/", "look for a value, or type one"], ["rest", "i", "all input columns"],
  ["overrule", "o", "replace what another has said"], ["keys", "?", "these keys"],
];
const store = `batchpipe words ${desk.dataset.name} ${desk.dataset.person}`;
const state = {
  fields: [], rows: [], place: 0, said: [], unsent: load(store, []), sending: false, taking: false, done: false,
  progress: null, accepted: 0, corrected: 0, began: 0, field: 0, drafts: new Map(), told: new Map(), notice: "",
  unfolded: false, looking: false, keys: load("batchpipe keys", {}), off: load("batchpipe keys off", false), trouble: "",
};

function load(name, otherwise) {
  try { return JSON.parse(localStorage.getItem(name)) ?? otherwise; } catch { return otherwise; }
}
function keep(name, value) {
  try { localStorage.setItem(name, JSON.stringify(value)); } catch { /* the browser keeps nothing: words stay in memory */ }
}
function make(tag, kind, text, ...inside) {
  const found = document.createElement(tag);
  if (kind) found.className = kind;
  if (text) found.textContent = text;
  found.append(...inside);
  return found;
}
function button(kind, text, act, ...inside) {
  const found = make("button", kind, text, ...inside);
  found.type = "button";
  found.addEventListener("click", act);
  return found;
}
async function post(url, body) {
  const answer = await fetch(url, {
    method: "POST", headers: {"X-Batchpipe": "1", "Content-Type": "application/json"}, body: JSON.stringify(body),
  });
  const text = await answer.text();
  let found;
  try { found = JSON.parse(text); } catch { found = {error: {message: text}}; }
  if (!answer.ok) throw Object.assign(new Error(found.error?.message || text), {status: answer.status});
  return found;
}
const row = () => state.rows[state.place];
const keyOf = (action) => state.keys[action] || ACTIONS.find(([name]) => name === action)[1];
const shownKey = (key) => { const values = JSON.parse(key); return values.length === 1 ? values[0] : key; };
const draftOf = (one) => state.drafts.get(one.key) || {};
const hides = (one) => one.hidden.some((name) => !(name in draftOf(one)));
const textOf = (one, field) => draftOf(one)[field] ?? (hides(one) ? "" : one.texts[field] ?? "");

async function take() {
  if (state.taking || state.done) return;
  state.taking = true;
  try {
    const mine = () => [...state.rows.slice(state.place), ...state.unsent].map((each) => each.key);
    const have = mine(), found = await post(desk.dataset.take, {number: AHEAD, have}), known = new Set([...have, ...mine()]);
    const fresh = found.rows.filter((each) => !known.has(each.key));
    if (!state.fields.length) {
      state.fields = found.fields;
      state.field = firstField();
    }
    state.progress = found.progress;
    state.rows.push(...fresh);
    state.done = !fresh.length;
    state.trouble = "";
  } catch (error) {
    state.trouble = error.message;
    setTimeout(take, 2000);
  }
  state.taking = false;
  draw();
}

async function flush() {
  if (state.sending || !state.unsent.length) return;
  state.sending = true;
  const group = state.unsent.slice(0, MOST_WORDS);
  try {
    const found = await post(desk.dataset.words, {words: group});
    const answered = new Map(found.results.map((each) => [each.id, each]));
    state.unsent = state.unsent.filter((each) => !answered.has(each.id));
    keep(store, state.unsent);
    state.progress = found.progress;
    state.trouble = "";
    for (const each of answered.values()) heard(each, group.find((one) => one.id === each.id));
  } catch (error) {
    state.trouble = error.status === 401 || error.status === 403 ? error.message : "the server does not answer; words wait here";
  }
  state.sending = false;
  draw();
}

function heard(result, word) {
  const spoken = state.said.find((each) => each.id === result.id);
  if (["accepted", "corrected", "withdrawn"].includes(result.outcome)) {
    if (spoken && result.outcome !== "withdrawn" && spoken.corrected !== (result.outcome === "corrected")) {
      state[spoken.corrected ? "corrected" : "accepted"] -= 1;
      spoken.corrected = !spoken.corrected;
      state[result.outcome] += 1;
    }
    return;
  }
  if (!spoken) { state.notice = `${shownKey(result.key)}: ${result.message}`; return; }
  state.said = state.said.filter((each) => each !== spoken);
  state[spoken.corrected ? "corrected" : "accepted"] -= 1;
  if (result.outcome === "overtaken") { state.notice = `${shownKey(result.key)}: ${result.message}`; return; }
  state.drafts.set(result.key, word.changes);
  state.told.set(result.key, result);
  state.rows.splice(state.place, 0, spoken.row);
  state.rows.splice(state.rows.indexOf(spoken.row, state.place + 1), 1);
}

function say(word) {
  state.unsent.push({id: `${Date.now().toString(36)}-${Math.random().toString(36).slice(2)}`, ...word});
  keep(store, state.unsent);
  return state.unsent[state.unsent.length - 1].id;
}

function accept(seen) {
  const one = row();
  if (!one || desk.dataset.readOnly !== undefined) return;
  const changes = draftOf(one);
  const missing = state.fields.find((each) => one.hidden.includes(each.name) && !each.optional && !(each.name in changes));
  if (missing) { state.notice = `${missing.name} is still empty`; draw(); return; }
  const told = state.told.get(one.key);
  if (told?.seen && !seen) { state.notice = `press ${keyOf("overrule")} to overrule, ${keyOf("skip")} to skip`; draw(); return; }
  const id = say({key: one.key, token: one.token, changes, seen: seen || 0});
  const corrected = Object.entries(changes).some(([name, text]) => text !== (one.texts[name] ?? ""));
  state[corrected ? "corrected" : "accepted"] += 1;
  state.said.push({id, row: one, corrected});
  state.began ||= Date.now();
  state.told.delete(one.key);
  step(1);
}

function undo() {
  const last = state.said.pop();
  if (!last) { state.notice = "there is nothing to take back"; draw(); return; }
  state[last.corrected ? "corrected" : "accepted"] -= 1;
  const waiting = state.unsent.findIndex((each) => each.id === last.id);
  if (waiting >= 0 && !state.sending) state.unsent.splice(waiting, 1);
  else say({key: last.row.key, token: last.row.token, undo: true});
  keep(store, state.unsent);
  const place = state.rows.indexOf(last.row);
  if (place >= 0) state.place = place;
  else state.rows.splice(state.place, 0, last.row);
  state.notice = "taken back";
  state.field = firstField();
  draw();
}

const firstField = () => Math.max(state.fields.findIndex((each) => each.allowed), 0);

function step(by) {
  state.place = Math.max(0, state.place + by);
  state.field = firstField();
  state.looking = false;
  state.notice = "";
  if (state.rows.length - state.place < FEW) take();
  draw();
}

function choices(one, field) {
  const found = [];
  const seen = new Set();
  for (const each of one.answers) {
    const text = each.texts[field.name];
    if (text === undefined) continue;
    const sure = each.confidence === null ? "" : ` ${each.confidence}`;
    const said = `${(each.model || "unknown").replace(/^claude-/, "").replace(/-\d{8}$/, "")}${sure}`;
    const known = found.find((other) => other.text === text);
    if (known) known.by += `, ${said}`;
    else { found.push({text, by: said}); seen.add(text); }
  }
  for (const text of field.allowed || []) if (!seen.has(text)) found.push({text, by: ""});
  return found;
}

function choose(text) {
  const one = row(), field = state.fields[state.field];
  if (!one || !field) return;
  state.drafts.set(one.key, {...draftOf(one), [field.name]: text});
  state.looking = false;
  state.notice = "";
  const left = state.fields.findIndex((each) => one.hidden.includes(each.name) && !(each.name in draftOf(one)));
  if (left >= 0) state.field = left;
  draw();
}

function progressLine() {
  const found = state.progress, minutes = state.began ? (Date.now() - state.began) / 60000 : 0;
  const words = state.accepted + state.corrected;
  const pace = minutes > 0.05 ? words / minutes : 0;
  const bar = make("progress");
  bar.max = found ? Math.max(found.rows, 1) : 1;
  bar.value = found ? found.rows - found.left : 0;
  bar.setAttribute("aria-label", "reviewed");
  const parts = [`${found ? found.rows - found.left : 0} of ${found ? found.rows : 0} · ${state.accepted} accepted, ${state.corrected} corrected`];
  const more = [];
  if (pace) more.push(`${Math.round(pace)} a minute`);
  more.push(state.trouble || (state.unsent.length ? `${state.unsent.length} on the way` : `all recorded, as ${desk.dataset.person}`));
  const gained = gain(found, pace);
  if (gained) more.push(gained);
  const line = make("div", "line", "", bar, make("span", "strong", parts[0]), make("span", state.trouble ? "bad" : "soft", more.join(" · ")));
  line.setAttribute("role", "status");
  return line;
}

function wilson(right, n) {
  const z = 1.959963984540054, p = right / n, s = z * z;
  return z * Math.sqrt(p * (1 - p) / n + s / (4 * n * n)) / (1 + s / n);
}
function gain(found, pace) {
  if (!found || !found.reviewed || !pace || !found.left) return "";
  const more = Math.min(Math.round(pace * 10), found.left), n = found.reviewed, share = found.right / n;
  const now = wilson(found.right, n), then = wilson(share * (n + more), n + more);
  return `ten more minutes: ${more} rows, right known to ±${(then * 100).toFixed(1)} instead of ±${(now * 100).toFixed(1)} points`;
}

function inputCard(one) {
  const link = make("a", "soft", `row ${shownKey(one.key)}`);
  link.href = one.link;
  const card = make("section", "input", "", make("div", "head", "", make("span", "why", one.why), link));
  card.setAttribute("aria-label", "input");
  const list = make("dl", "pairs long");
  for (const [name, text] of one.shown) list.append(make("dt", "", name), make("dd", "", text ?? ""));
  card.append(list);
  for (const file of one.files) {
    const shown = make("figure", "file", "");
    if (file.source) {
      const picture = make("img");
      picture.src = file.source;
      picture.alt = file.words;
      shown.append(picture);
    }
    shown.append(make("figcaption", "", file.words));
    card.append(shown);
  }
  if (one.rest.length) {
    const more = make("details", "", "", make("summary", "", one.rest.length === 1 ? "1 more column" : `${one.rest.length} more columns`));
    more.open = state.unfolded;
    const rest = make("dl", "pairs");
    for (const [name, text] of one.rest) rest.append(make("dt", "", name), make("dd", "", text ?? ""));
    more.append(rest);
    card.append(more);
  }
  card.append(make("p", "soft", hides(one) ? "the answer is hidden until you have chosen yours" : `answered by ${one.by}`));
  return card;
}

function fieldCard(one, field, place) {
  const active = place === state.field, text = textOf(one, field.name);
  const changed = field.name in draftOf(one) && text !== (one.texts[field.name] ?? "");
  const head = button("field-name", field.name, () => { state.field = place; state.looking = false; draw(); });
  head.setAttribute("aria-expanded", String(active));
  const card = make("div", active ? "field active" : "field", "", head, make("div", changed ? "value changed" : "value", text || (hides(one) ? "(hidden)" : "(nothing)")));
  if (!active) return card;
  const found = choices(one, field), listed = make("ol", "choices");
  found.slice(0, SHOWN).forEach((each, number) => {
    const item = button("choice", "", () => choose(each.text), make("kbd", "", state.off ? "·" : String(number + 1)),
      make("span", "", each.text.slice(0, LONG) || "(nothing)"), make("span", "soft by", each.by));
    item.setAttribute("aria-pressed", String(each.text === text));
    listed.append(make("li", "", "", item));
  });
  if (found.length) card.append(listed);
  const open = !field.allowed || field.allowed.length > SHOWN;
  if (state.looking || !field.allowed) card.append(lookFor(one, field));
  else if (open) card.append(button("more", `and ${found.length - SHOWN} more: ${keyOf("look")} to look for one`, () => { state.looking = true; draw(); }));
  return card;
}

function lookFor(one, field) {
  const box = make("input");
  box.value = field.allowed ? "" : textOf(one, field.name);
  box.setAttribute("aria-label", field.allowed ? `look for a value of ${field.name}` : `the value of ${field.name}`);
  const fitting = make("ol", "choices");
  const narrow = () => {
    const wanted = box.value.toLowerCase();
    const found = (field.allowed || []).filter((each) => each.toLowerCase().includes(wanted)).slice(0, SHOWN);
    fitting.replaceChildren(...(field.allowed ? found : []).map((each) => make("li", "", "", button("choice", "", () => choose(each), make("span", "", each)))));
  };
  box.addEventListener("input", narrow);
  box.addEventListener("keydown", (event) => {
    event.stopPropagation();
    if (event.key === "Escape") { state.looking = false; draw(); }
    if (event.key !== "Enter") return;
    event.preventDefault();
    const first = fitting.querySelector("button");
    if (!field.allowed) choose(box.value);
    else if (first) first.click();
  });
  if (state.looking) setTimeout(() => box.focus());
  if (field.allowed) narrow();
  return make("div", "look", "", box, ...(field.allowed ? [fitting] : [button("", "Take it", () => choose(box.value))]));
}

function keysLine() {
  const line = make("div", "keys");
  const hint = (action, text) => button("hint", "", () => act(action), make("kbd", "", keyOf(action)), make("span", "", text));
  line.append(hint("accept", "accept"), hint("undo", "undo"), hint("skip", "skip"), hint("back", "back"),
    hint("next", "next field"), hint("look", "look for a value"), hint("keys", "keys"));
  return line;
}

function keysDialog() {
  const dialog = make("dialog", "", "", make("h2", "", "Keys"));
  dialog.setAttribute("aria-label", "keys");
  const table = make("table");
  for (const [action, , words] of ACTIONS) {
    const box = make("input");
    box.maxLength = 1;
    box.size = 2;
    box.value = keyOf(action);
    box.setAttribute("aria-label", words);
    box.addEventListener("change", () => {
      if (!box.value || /[0-9]/.test(box.value)) { box.value = keyOf(action); return; }
      state.keys[action] = box.value;
      keep("batchpipe keys", state.keys);
    });
    table.append(make("tr", "", "", make("td", "", "", box), make("td", "", words)));
  }
  const off = make("input");
  off.type = "checkbox";
  off.checked = !state.off;
  off.addEventListener("change", () => { state.off = !off.checked; keep("batchpipe keys off", state.off); });
  const close = button("", "Close", () => { dialog.close(); dialog.remove(); draw(); });
  dialog.append(table, make("p", "", "1 to 9 choose a value; Enter accepts; Esc leaves the row as it was."),
    make("label", "", "", off, " keys are on"), make("p", "buttons", "", close));
  dialog.addEventListener("close", () => { dialog.remove(); draw(); });
  desk.append(dialog);
  dialog.showModal();
}

function draw() {
  const one = row();
  const parts = [progressLine()];
  const told = one && state.told.get(one.key);
  const words = [state.notice, told ? told.message : ""].filter(Boolean).join("; ");
  if (words) {
    const line = make("p", "notice", words);
    line.setAttribute("role", "alert");
    if (told?.seen) line.append(" ", button("", "overrule", () => accept(told.seen)));
    parts.push(line);
  }
  if (one) {
    const right = make("section", "answer", "", ...state.fields.map((each, place) => fieldCard(one, each, place)));
    right.setAttribute("aria-label", "answer");
    parts.push(make("div", "desk", "", inputCard(one), right), keysLine());
  } else if (state.progress && state.done) {
    parts.push(make("p", "", state.progress.left ? "The other rows are with somebody else: look again in five minutes." : "There is nothing more to review."));
    if (state.said.length) parts.push(keysLine());
  } else {
    parts.push(make("p", "soft", state.trouble || "The rows are being chosen …"));
  }
  const open = desk.querySelector("dialog");
  desk.replaceChildren(...parts, ...(open ? [open] : []));
}

function act(action) {
  const one = row();
  switch (action) {
    case "accept": return accept(0);
    case "undo": return undo();
    case "skip": return one && step(1);
    case "back": return step(-1);
    case "next": state.field = (state.field + 1) % Math.max(state.fields.length, 1); state.looking = false; return draw();
    case "look": state.looking = true; return draw();
    case "rest": state.unfolded = !state.unfolded; return draw();
    case "overrule": return one && state.told.get(one.key)?.seen && accept(state.told.get(one.key).seen);
    case "keys": return keysDialog();
  }
}

document.addEventListener("keydown", (event) => {
  if (state.off || event.ctrlKey || event.metaKey || event.altKey || desk.querySelector("dialog[open]")) return;
  if (event.target.closest("input, select, textarea")) return;
  if (event.key === "Enter" && event.target.closest("a, button, summary")) return;
  const one = row();
  if (event.key === "Enter") { event.preventDefault(); accept(0); return; }
  if (event.key === "Escape" && one) { state.drafts.delete(one.key); state.notice = ""; draw(); return; }
  if (/^[1-9]$/.test(event.key) && one && state.fields[state.field]) {
    const found = choices(one, state.fields[state.field])[Number(event.key) - 1];
    if (found) choose(found.text);
    return;
  }
  const action = ACTIONS.find(([name]) => keyOf(name) === event.key);
  if (action) { event.preventDefault(); act(action[0]); }
});
window.addEventListener("beforeunload", (event) => { if (state.unsent.length) event.preventDefault(); });

if (desk.dataset.readOnly === undefined) {
  if (state.unsent.length) flush();
  take();
  setInterval(flush, FLUSH_MS);
}
