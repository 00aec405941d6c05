// The page of a service: sends observations to /v1, and shows decisions, what they looked at, and the session's timeline.
"use strict";

const at = (id) => document.getElementById(id);
const state = { session: null, step: 0, agent: null };

async function call(method, path, body) {
  const headers = { "content-type": "application/json" };
  if (at("key").value) headers.authorization = "Bearer " + at("key").value;
  const response = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  const found = await response.json();
  if (!response.ok) throw new Error(found.error ? found.error.message : response.statusText);
  return found;
}

function say(error) {
  at("error").hidden = !error;
  at("error").textContent = error ? error.message : "";
}

function element(name, text, parent, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  if (parent) parent.append(made);
  return made;
}

function field(name, kind, value) {
  const label = element("label", name + " ", at("fields"));
  const input = element(kind === "text" ? "textarea" : "input", undefined, label);
  input.dataset.name = name;
  input.dataset.kind = kind;
  if (value !== undefined) input.value = value;
  return input;
}

function zeros(shape) {
  return shape.length ? Array.from({ length: shape[0] }, () => zeros(shape.slice(1))) : 0;
}

function describe(agent) {
  state.agent = agent;
  at("agent").textContent = agent.version + (agent.env ? " (" + agent.env + ")" : "") + ", " + agent.backend;
  at("fields").replaceChildren();
  if (agent.columns) {
    at("help").textContent = Object.keys(agent.columns).length ? "One row of the table." : "This agent reads its history alone.";
    for (const [name, kind] of Object.entries(agent.columns)) field(name, kind);
    return;
  }
  at("help").textContent = "The observation as JSON, as in the environment's space.";
  const leaves = agent.observation;
  if (leaves.length === 1 && leaves[0].kind === "text") { field("observation", "text"); return; }
  const example = leaves.length === 1 && leaves[0].path === "observation" ? zeros(leaves[0].shape) : {};
  for (const leaf of leaves) if (leaf.path !== "observation") {
    const keys = leaf.path.split("/");
    let part = example;
    for (const key of keys.slice(0, -1)) part = part[key] = part[key] || {};
    part[keys[keys.length - 1]] = leaf.kind === "text" ? "" : zeros(leaf.shape);
  }
  field("observation", "json").replaceWith(jsonArea(JSON.stringify(example)));
}

function jsonArea(value) {
  const area = document.createElement("textarea");
  area.dataset.name = "observation";
  area.dataset.kind = "json";
  area.value = value;
  area.spellcheck = false;
  return area;
}

function observation() {
  const fields = [...at("fields").querySelectorAll("[data-name]")];
  if (!state.agent.columns) {
    const only = fields[0];
    if (only.dataset.kind === "text") return only.value;
    try { return JSON.parse(only.value); } catch (error) { throw new Error("The observation is not valid JSON: " + error.message); }
  }
  const row = {};
  for (const one of fields) {
    const text = one.value;
    if (text === "") row[one.dataset.name] = null;
    else if (one.dataset.kind === "number") row[one.dataset.name] = Number(text);
    else if (one.dataset.kind === "vector" || one.dataset.kind === "entities") row[one.dataset.name] = JSON.parse(text);
    else row[one.dataset.name] = text;
  }
  return row;
}

const plain = (action) => typeof action === "object" && !Array.isArray(action) ? Object.values(action).join(", ") : String(action);

function shown(observation) {
  const leaves = Object.values(observation);
  const value = Object.keys(observation).length === 1 && leaves.length === 1 ? leaves[0] : observation;
  return JSON.stringify(value, (_, one) => (typeof one === "number" ? Number(one.toPrecision(6)) : one));
}

function names(count) {
  const known = state.agent.action_names ? Object.values(state.agent.action_names)[0] : null;
  const start = Number.parseInt(state.agent.actions, 10) || 0;
  return Array.from({ length: count }, (_, code) => (known && known[code]) || String(code + start));
}

function showDecision(decision) {
  at("action").textContent = "Action: " + plain(decision.name || decision.action);
  at("scores").replaceChildren();
  const several = Array.isArray(decision.scores[0]);
  const scores = several ? decision.scores.flat() : decision.scores;
  const known = scores.filter((one) => one !== null), low = Math.min(...known), high = Math.max(...known);
  const labels = several ? scores.map((_, place) => String(place)) : names(scores.length);
  const order = scores.map((_, place) => place).sort((a, b) => (scores[b] ?? -Infinity) - (scores[a] ?? -Infinity)).slice(0, 20);
  for (const place of order) {
    const row = element("div", undefined, at("scores"), "bar" + (scores[place] === high ? " chosen" : ""));
    element("span", labels[place], row).title = labels[place];
    const bar = element("b", undefined, element("i", undefined, row));
    bar.style.setProperty("width", scores[place] === null ? "0" : 4 + 96 * (high > low ? (scores[place] - low) / (high - low) : 1) + "%");
    element("span", scores[place] === null ? "not allowed" : scores[place].toPrecision(4), row);
  }
}

function showLook(found) {
  at("look").replaceChildren();
  const strip = element("div", undefined, at("look"), "strip");
  const most = Math.max(1e-12, ...found.influence.map((one) => Math.abs(one.change)));
  for (const one of found.influence) {
    const share = Math.abs(one.change) / most;
    const cell = element("span", String(one.step), strip);
    cell.style.setProperty("background", "color-mix(in srgb, var(" + (one.change >= 0 ? "--good" : "--bad") + ") " + Math.round(85 * share) + "%, transparent)");
    cell.title = "step " + one.step + ": " + one.change.toPrecision(3);
  }
}

function showTimeline(found) {
  const rows = at("timeline").querySelector("tbody");
  rows.replaceChildren();
  for (const step of found.history.slice(-200).reverse()) {
    const row = element("tr", undefined, rows);
    element("td", String(step.step), row);
    element("td", shown(step.observation).slice(0, 400), row);
    element("td", plain(step.action), row);
    element("td", String(step.reward), row);
  }
}

async function restart() {
  if (state.session) await call("DELETE", "/v1/sessions/" + state.session).catch(() => null);
  const made = await call("POST", "/v1/sessions", {});
  state.session = made.session;
  state.step = 0;
  at("session").textContent = made.session;
  at("action").textContent = "Nothing sent yet.";
  for (const id of ["scores", "look"]) at(id).replaceChildren();
  at("timeline").querySelector("tbody").replaceChildren();
}

async function send(event) {
  event.preventDefault();
  at("send").disabled = true;
  try {
    if (!state.session) await restart();
    const request = { observation: observation(), step: state.step };
    if (state.step > 0) request.reward = Number(at("reward").value) || 0;
    const decision = await call("POST", "/v1/sessions/" + state.session + "/act", request);
    state.step += 1;
    showDecision(decision);
    showTimeline(await call("GET", "/v1/sessions/" + state.session));
    showLook(await call("GET", "/v1/sessions/" + state.session + "/influence"));
    say(null);
  } catch (error) {
    say(error);
  } finally {
    at("send").disabled = false;
  }
}

async function begin() {
  try {
    const found = await call("GET", "/v1/agents");
    describe(found.agents.find((one) => one.version === found.active));
    await restart();
    say(null);
  } catch (error) {
    say(error);
  }
}

at("form").addEventListener("submit", send);
at("restart").addEventListener("click", () => restart().then(() => say(null), say));
at("key").addEventListener("change", begin);
at("keys").addEventListener("submit", (event) => { event.preventDefault(); begin(); });
begin();
