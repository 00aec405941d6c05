// The page of an explained episode: draws one decision at a time from the data in the page. Data are only ever shown as text.
"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const at = (id) => document.getElementById(id);
const last = data.steps.length - 1;
let now = Math.min(Math.max(0, data.start), last);

function element(name, text, parent, className) {
  const made = document.createElement(name);
  if (text !== undefined && text !== null) made.textContent = text;
  if (className) made.className = className;
  if (parent) parent.append(made);
  return made;
}

// Numbers are packed as 16-bit integers, little-endian, in units of the largest of their row.
function unpack(found) {
  const bytes = Uint8Array.from(atob(found.data), (sign) => sign.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  const place = found.width === null ? (row, column) => (row * (row + 1)) / 2 + column : (row, column) => row * found.width + column;
  return (row, column) => (view.getInt16(2 * place(row, column), true) / 32767) * found.most[row];
}

const strips = data.methods.map((method) => ({ ...method, value: unpack(method) }));
const guide = strips.find((strip) => strip.name === "occlusion") || strips[0];

const number = (value) => (value === null ? "not allowed" : Math.abs(value) < 1e-12 ? "0" : String(Number(value.toPrecision(3))));
const signed = (value) => (value > 0 ? "+" : "") + number(value);
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
const tint = (strip, value) => (!strip.signed ? "share" : value >= 0 ? "for" : "against");

function largest(strip) {
  let most = 0;
  for (let past = 0; past < now; past += 1) most = Math.max(most, Math.abs(strip.value(now, past)));
  return most;
}

function draw(strip) {
  const canvas = strip.canvas, density = window.devicePixelRatio || 1;
  const width = Math.max(1, Math.round(canvas.clientWidth * density)), height = Math.max(1, Math.round(canvas.clientHeight * density));
  if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
  const pen = canvas.getContext("2d"), most = largest(strip) || 1, cell = width / (last + 1);
  pen.clearRect(0, 0, width, height);
  for (let past = 0; past < now; past += 1) {
    const value = strip.value(now, past), share = Math.abs(value) / most;
    if (share < 0.004) continue;
    const tall = Math.max(2 * density, share * height), gap = cell > 6 * density ? density : 0;
    pen.globalAlpha = 0.25 + 0.75 * share;
    pen.fillStyle = colour(tint(strip, value));
    pen.fillRect(past * cell, height - tall, Math.max(density, cell - gap), tall);
  }
  pen.globalAlpha = 1;
  pen.fillStyle = colour("now");
  pen.fillRect(now * cell, 0, Math.max(2 * density, Math.min(cell, 3 * density)), height);
  pen.globalAlpha = 0.12;
  pen.fillRect((now + 1) * cell, 0, width, height);
  pen.globalAlpha = 1;
}

function said(strip, past) {
  const own = past === now ? " (this step, no memory)" : past < now ? ", " + (now - past) + (now - past === 1 ? " step" : " steps") + " earlier" : "";
  const value = past > now ? "not seen yet" : strip.signed ? signed(strip.value(now, past)) : Math.round(1000 * strip.value(now, past)) / 10 + " %";
  return strip.title + ", step " + data.steps[past].n + own + ": " + value;
}

function place(strip, event) {
  const box = strip.canvas.getBoundingClientRect();
  return Math.min(last, Math.max(0, Math.floor(((event.clientX - box.left) / box.width) * (last + 1))));
}

function build() {
  document.title = data.title;
  at("title").textContent = data.title;
  at("facts").textContent = data.facts.map(([name, value]) => name + " " + value).join(" · ");
  at("slider").max = last;
  for (const strip of strips) {
    const row = element("div", undefined, at("strips"), "strip");
    element("span", strip.title, row).title = strip.meaning;
    strip.canvas = element("canvas", undefined, row);
    strip.canvas.setAttribute("role", "img");
    strip.canvas.addEventListener("pointermove", (event) => { at("readout").textContent = said(strip, place(strip, event)); });
    strip.canvas.addEventListener("pointerleave", () => { at("readout").textContent = "\u00a0"; });
    strip.canvas.addEventListener("click", (event) => show(place(strip, event)));
  }
  at("readout").textContent = "\u00a0";
  for (const note of data.notes) element("p", note, at("notes"));
  at("slider").addEventListener("input", () => show(Number(at("slider").value)));
  at("back").addEventListener("click", () => show(now - 1));
  at("forward").addEventListener("click", () => show(now + 1));
  document.addEventListener("keydown", key);
  window.addEventListener("resize", () => strips.forEach(draw));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => show(now));
}

function key(event) {
  if (event.altKey || event.ctrlKey || event.metaKey) return;
  const moves = { ArrowLeft: now - 1, ArrowRight: now + 1, PageUp: now - 10, PageDown: now + 10, Home: 0, End: last, i: data.start };
  if (!(event.key in moves)) return;
  event.preventDefault();
  show(moves[event.key]);
}

function showSeen(step) {
  at("screen").replaceChildren();
  if (step.picture !== null) {
    const image = element("img", undefined, at("screen"));
    image.src = data.pictures[step.picture];
    image.alt = "the frame of step " + step.n;
  } else if (step.screen !== null) {
    const lines = element("pre", step.screen, at("screen"));
    const columns = Math.max(1, ...step.screen.split("\n").map((line) => line.length));
    // so that the longest line fits: a letter is about 0.61 of the font's size wide
    lines.style.setProperty("font-size", Math.max(5, Math.min(13, (lines.clientWidth - 24) / (0.61 * columns))) + "px");
  }
  at("texts").replaceChildren();
  for (const text of step.texts) showText(text);
  at("observed").replaceChildren();
  for (const [name, value] of step.facts) {
    element("dt", name, at("observed"));
    element("dd", value, at("observed"));
  }
  const nothing = step.picture === null && step.screen === null && !step.texts.length && !step.facts.length;
  if (nothing) {
    element("dt", now ? "before" : "history", at("observed"));
    element("dd", now ? data.steps[now - 1].action + (data.steps[now - 1].reward === null ? "" : ", reward " + number(data.steps[now - 1].reward)) : "empty", at("observed"));
  }
}

function showText(text) {
  element("small", text.leaf.replace(/^text\//, ""), at("texts"));
  const box = element("div", undefined, at("texts"), "text");
  if (!text.spans) { box.textContent = text.text; return; }
  const value = unpack(text), signs = [...Array(text.spans.length).keys()].map((word) => value(now, word));
  const most = Math.max(1e-12, ...signs.map(Math.abs));
  // spans count characters as Python does, by code point
  const letters = Array.from(text.text);
  let end = 0;
  text.spans.forEach(([from, to], word) => {
    box.append(letters.slice(end, from).join(""));
    const mark = element("mark", letters.slice(from, to).join(""), box);
    mark.title = signed(signs[word]);
    const share = Math.abs(signs[word]) / most;
    if (share > 0.02) mark.style.setProperty("background", "color-mix(in srgb, " + colour(signs[word] >= 0 ? "for" : "against") + " " + Math.round(60 * share) + "%, transparent)");
    end = to;
  });
  box.append(letters.slice(end).join(""));
}

function showDecision(step) {
  const chosen = step.bars.find((bar) => bar[3]), recorded = step.bars.some((bar) => bar[5]);
  const reward = step.reward === null ? "" : ", reward " + number(step.reward);
  at("action").textContent = recorded
    ? "Recorded: " + step.action + reward + ". The agent would choose " + (chosen ? chosen[0] : "?") + "."
    : step.action === "" ? "Next: " + (chosen ? chosen[0] : "?") : "Action " + step.action + reward;
  at("bars").replaceChildren();
  const known = step.bars.filter((bar) => bar[1] !== null);
  const low = Math.min(...known.map((bar) => bar[1] - (bar[2] || 0))), high = Math.max(...known.map((bar) => bar[1] + (bar[2] || 0)));
  const share = (value) => (high > low ? 4 + (96 * (value - low)) / (high - low) : 100);
  for (const [name, score, std, isChosen, isOver, isRecorded] of step.bars) {
    const row = element("div", undefined, at("bars"), "bar" + (isChosen ? " chosen" : ""));
    const label = element("span", name, row);
    label.title = name + (isChosen ? ", the agent's choice" : isOver ? ", what it is compared with" : "") + (isRecorded ? ", recorded" : "");
    const bar = element("i", undefined, row);
    element("b", undefined, bar).style.setProperty("width", score === null ? "0" : share(score) + "%");
    if (std !== null && score !== null) {
      const line = element("u", undefined, bar), left = Math.max(0, share(score - std));
      line.style.setProperty("left", left + "%");
      line.style.setProperty("width", Math.min(100, share(score + std)) - left + "%");
    }
    const value = element("span", number(score), row);
    if (std !== null) element("em", " ± " + number(std), value);
  }
  const line = step.bars.some((bar) => bar[2] !== null) ? " The line is one standard deviation of the return." : "";
  at("bars-note").textContent = "Scores in " + data.unit + "." + line + (step.more ? " " + step.more.toLocaleString("en") + " other actions are not listed." : "");
}

// What a step showed that the present one does not show, and the action before it.
function describe(past) {
  const parts = (step) => step.texts.map((text) => text.text).concat(step.facts.map(([name, value]) => name + ": " + value));
  const present = parts(data.steps[now]), found = parts(data.steps[past]).filter((part) => !present.includes(part));
  if (past > 0) found.push("after " + data.steps[past - 1].action);
  const text = found.join("; ");
  return text.length > 140 ? text.slice(0, 139) + "…" : text;
}

function showMost() {
  at("list").replaceChildren();
  if (!guide) return;
  const order = [...Array(now).keys()].sort((a, b) => Math.abs(guide.value(now, b)) - Math.abs(guide.value(now, a))).slice(0, 5);
  for (const past of order) {
    const value = guide.value(now, past), step = data.steps[past];
    if (Math.abs(value) < 1e-9) continue;
    const item = element("li", undefined, at("list"));
    const shown = guide.signed ? signed(value) : Math.round(1000 * value) / 10 + " %";
    element("button", "step " + step.n + ", " + shown, item).addEventListener("click", () => show(past));
    if (step.picture !== null) {
      const image = element("img", undefined, item);
      image.src = data.pictures[step.picture];
      image.alt = "";
    }
    element("small", describe(past), item);
  }
  if (!at("list").children.length) element("small", now ? "No past step changes this decision." : "There are no past steps yet.", at("list"));
}

function showQuestion() {
  const chosen = data.steps[now].bars.find((bar) => bar[3]), over = data.steps[now].bars.find((bar) => bar[4]);
  const lead = chosen && over ? " The choice leads by " + number(chosen[1] - over[1]) + "." : "";
  const most = guide && now ? " Hiding one past step changes it by " + number(largest(guide)) + " at most." : "";
  const sure = guide && guide.name === "occlusion" ? most : "";
  at("question").textContent = "Explained: " + data.question + "." + lead + sure;
}

function show(wanted) {
  now = Math.min(last, Math.max(0, wanted));
  const step = data.steps[now];
  at("slider").value = now;
  at("slider").setAttribute("aria-valuetext", "step " + step.n);
  at("place").textContent = "step " + step.n + " of " + data.steps[last].n;
  for (const strip of strips) {
    draw(strip);
    let top = 0;
    for (let past = 0; past < now; past += 1) if (Math.abs(strip.value(now, past)) > Math.abs(strip.value(now, top))) top = past;
    strip.canvas.setAttribute("aria-label", now ? "largest: " + said(strip, top) : strip.title + ": no past steps");
  }
  showQuestion();
  at("counterfactual").textContent = data.counterfactuals[now] || "";
  showSeen(step);
  showDecision(step);
  showMost();
}

build();
show(now);
