"use strict";

const STRIP = 50;
const SCORES = 500;
const COURSE = 300;
const STATES = {
  running: "running", paused: "paused", finished: "camera at its end", faulty: "stopped by an internal error",
};

const byId = (id) => document.getElementById(id);
const number = (value, digits = 0) => Number(value).toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
const sum = (counts) => Object.values(counts || {}).reduce((total, count) => total + count, 0);

function make(name, text, className) {
  const element = document.createElement(name);
  if (text !== undefined) element.textContent = text;
  if (className) element.className = className;
  return element;
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// ---- what is asked of the inspector

let hideMessage;

function tell(text) {
  const message = byId("message");
  message.textContent = text;
  message.hidden = false;
  clearTimeout(hideMessage);
  hideMessage = setTimeout(() => { message.hidden = true; }, 6000);
}

async function get(path) {
  const answer = await fetch(path, { headers: { Accept: "application/json" } });
  if (answer.status === 401) location.replace("/login");
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
}

async function command(name, fields) {
  const id = `page-${Date.now().toString(36)}-${Math.random().toString(36).slice(2, 8)}`;
  try {
    const answer = await fetch("/commands", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ id, command: name, ...fields }),
    });
    if (!answer.ok) throw new Error(String(answer.status));
    const reply = await answer.json();
    if (!reply.ok) tell(reply.error.message);
    return reply.ok;
  } catch {
    tell("The inspector does not answer.");
    return false;
  }
}

function ask(question) {
  const dialog = byId("ask");
  dialog.querySelector("p").textContent = question;
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

// ---- one lane

class Lane {
  constructor(name) {
    this.name = name;
    this.entries = [];
    this.scores = [];
    this.course = new Map();
    this.pictures = new Set();
    this.number = 0;
    this.newest = null;
    this.shown = null;
    this.touched = false;
    this.root = byId("lane").content.firstElementChild.cloneNode(true);
    this.root.dataset.lane = name;
    this.root.setAttribute("aria-label", `Lane ${name}`);
    this.find("h2").textContent = name;
    this.listen();
  }

  find(selector) {
    return this.root.querySelector(selector);
  }

  path(kind, sequence) {
    return `/lanes/${encodeURIComponent(this.name)}/${kind}/${sequence}`;
  }

  listen() {
    const mask = this.find(".mask");
    const show = () => {
      mask.style.visibility = this.find(".show").checked ? "" : "hidden";
      mask.style.opacity = this.find(".opacity").value / 100;
    };
    this.find(".show").addEventListener("change", show);
    this.find(".opacity").addEventListener("input", show);
    show();
    for (const button of this.root.querySelectorAll("[data-command]")) {
      button.addEventListener("click", () => this.command(button.dataset.command));
    }
    this.find(".threshold").addEventListener("input", () => {
      this.touched = true;
      this.drawScores();
    });
    this.find(".set").addEventListener("click", () => this.setThreshold(Number(this.find(".threshold").value)));
    this.find(".own").addEventListener("click", () => this.setThreshold(null));
  }

  async command(name) {
    const questions = {
      pause: `Pause lane ${this.name}? It takes no part until it is resumed.`,
      stop_model: `Stop ${this.state.model}? Every lane that inspects with it is paused.`,
    };
    if (questions[name] && !(await ask(questions[name]))) return;
    const fields = name.endsWith("_model") ? { model: this.state.model } : { lane: this.name };
    await command(name, fields);
  }

  async setThreshold(threshold) {
    const question = threshold === null
      ? `Have lane ${this.name} judge by its model's own threshold?`
      : `Set the threshold of lane ${this.name} to ${threshold.toFixed(2)}? ${this.find(".change").textContent}`;
    if (!(await ask(question))) return;
    if (await command("set_threshold", { lane: this.name, threshold })) {
      this.touched = false;
      if (threshold === null) this.find(".threshold").value = 0.5;
    }
  }

  // The whole of it, or what changed.
  take(state) {
    const { album } = state;
    this.state = state;
    if (album) {
      // A change may tell of parts that the whole had already.
      const news = album.entries.filter((entry) => entry.number > this.number);
      if (album.scores) {
        this.entries = album.entries;
        this.scores = album.scores;
        this.course.clear();
      } else {
        this.entries.push(...news);
        this.scores.push(...news.map((entry) => entry.score));
      }
      this.number = album.number;
      this.entries = this.entries.slice(-STRIP);
      this.scores = this.scores.slice(-SCORES);
      for (const [at, inspected, anomalous, mean, worst] of album.course) {
        this.course.set(at, { at, inspected, anomalous, mean, worst });
      }
      this.pictures = new Set(album.pictures);
      this.newest = album.newest;
    }
    this.draw(Boolean(album));
  }

  draw(more) {
    const { state } = this;
    const live = this.find(".state");
    const camera = state.camera === "live" || state.state !== "running" ? "" : `, camera ${state.camera}`;
    const trouble = state.model_trouble ? `, model: ${state.model_trouble}` : "";
    setText(live, `${STATES[state.state] || state.state}${camera}${trouble}`);
    live.classList.toggle("bad", Boolean(camera || trouble) || state.state === "faulty");
    setText(this.find(".model"), `${state.model}${state.model_version ? ` ${state.model_version}` : ""}`);
    this.find('[data-command="pause"]').disabled = state.state !== "running";
    this.find('[data-command="resume"]').disabled = state.state !== "paused";
    this.find('[data-command="trigger"]').hidden = !state.triggers;
    this.drawFlow();
    this.drawScores();
    if (!more) return;
    this.drawNewest();
    this.drawStrip();
    this.drawCourse();
  }

  // The newest part that has a picture; its verdict stands beside it, whatever came after.
  drawNewest() {
    if (this.newest === null || this.newest === this.shown) return;
    const entry = this.entries.find((one) => one.sequence === this.newest);
    if (!entry) return;
    this.shown = this.newest;
    const frame = this.find(".frame");
    const mask = this.find(".mask");
    const word = entry.anomalous ? "anomalous" : "normal";
    frame.src = this.path("frame", this.newest);
    frame.alt = `Part ${entry.sequence}, ${word}`;
    if (entry.classes.length) {
      mask.src = this.path("mask", this.newest);
    } else {
      mask.removeAttribute("src");
    }
    // It may be gone before a slow link has asked for it; the next one comes soon.
    frame.onerror = () => { this.shown = null; };
    const save = this.find(".save");
    save.href = frame.src;
    save.download = `${this.name}-${entry.sequence}.jpg`;
    setText(this.find("figcaption"), `${entry.sequence} · ${new Date(entry.at_ms).toLocaleTimeString("en-GB")} · ${entry.source}`);
    const verdict = this.find(".verdict strong");
    verdict.className = word;
    setText(verdict, entry.anomalous ? "✕ anomalous" : "✓ normal");
    setText(this.find(".verdict span"), `score ${entry.score.toFixed(3)}`);
    this.find(".verdict ul").replaceChildren(...entry.classes.map((one) => {
      const item = make("li");
      const swatch = make("span", undefined, "swatch");
      swatch.style.background = one.hex_color;
      item.append(swatch, `${one.name} ${(one.area * 100).toFixed(2)} %`);
      return item;
    }));
  }

  drawStrip() {
    const list = this.find(".strip ol");
    const known = new Map([...list.children].map((item) => [item.dataset.number, item]));
    const items = this.entries.map((entry) => {
      const item = known.get(String(entry.number)) || this.strip(entry);
      if (this.pictures.has(entry.sequence) && !item.querySelector("img")) {
        const image = make("img");
        image.alt = "";
        image.loading = "lazy";
        image.src = this.path("thumbnail", entry.sequence);
        image.addEventListener("error", () => image.remove());
        item.prepend(image);
      }
      return item;
    }).reverse();
    // Only what is new is moved: a list that somebody scrolls stays where it is.
    const wanted = new Set(items);
    for (const old of [...list.children]) if (!wanted.has(old)) old.remove();
    items.forEach((item, index) => {
      if (list.children[index] !== item) list.insertBefore(item, list.children[index] || null);
    });
  }

  strip(entry) {
    const item = make("li", undefined, entry.anomalous ? "anomalous" : "normal");
    item.dataset.number = entry.number;
    const classes = entry.classes.map((one) => one.name).join(", ");
    const label = `${entry.anomalous ? "✕" : "✓"} ${entry.score.toFixed(2)}`;
    item.title = `Part ${entry.sequence}: ${entry.anomalous ? "anomalous" : "normal"}${classes ? `, ${classes}` : ""}`;
    item.setAttribute("aria-label", item.title);
    item.append(make("span", label));
    return item;
  }

  drawCourse() {
    const now = this.course.size ? Math.max(...this.course.keys()) : 0;
    for (const at of this.course.keys()) if (at < now - COURSE) this.course.delete(at);
    const known = [...this.course.values()].sort((a, b) => a.at - b.at);
    const first = known.length ? Math.max(known[0].at, now - 120) : 0;
    const seconds = [];
    for (let at = first; at <= now && known.length; at += 1) {
      seconds.push(this.course.get(at) || { at, inspected: 0, anomalous: 0, mean: 0, worst: 0 });
    }
    // The second that is under way would always look slow.
    const whole = seconds.slice(0, -1).slice(-10);
    const rate = whole.length ? whole.reduce((total, second) => total + second.inspected, 0) / whole.length : 0;
    const last = known.at(-1);
    setText(this.find(".rate"), number(rate, 1));
    setText(this.find(".latency"), last ? `mean ${number(last.mean, 1)} ms, worst ${number(last.worst, 1)} ms` : "");
    charts.rates(this.find(".rates"), seconds, `${number(rate, 1)} parts a second`);
    charts.latencies(this.find(".latencies"), known, last ? `mean ${number(last.mean, 1)} milliseconds` : "no part yet");
  }

  drawScores() {
    const slider = this.find(".threshold");
    const inForce = this.state.threshold ?? null;
    if (!this.touched && inForce !== null) slider.value = inForce;
    const looked = Number(slider.value);
    setText(this.find(".scores output"), looked.toFixed(2));
    setText(this.find(".of"), String(this.scores.length));
    const hot = this.scores.filter((score) => score >= looked).length;
    charts.histogram(this.find(".histogram"), this.scores, looked, inForce, `${hot} of ${this.scores.length} at or above ${looked.toFixed(2)}`);
    setText(this.find(".change"), this.change(looked, inForce));
    this.find(".set").disabled = inForce !== null && Math.abs(looked - inForce) < 0.005;
    this.find(".own").disabled = inForce === null;
  }

  // What another threshold would have made of the same parts.
  change(looked, inForce) {
    if (inForce === null && !this.touched) return "The model's own threshold is in force.";
    const before = (score) => (inForce === null ? score > 0.5 : score >= inForce);
    const more = this.scores.filter((score) => score >= looked && !before(score)).length;
    const fewer = this.scores.filter((score) => score < looked && before(score)).length;
    if (!more && !fewer) return `None of the last ${this.scores.length} parts would have been judged otherwise.`;
    return `Of the last ${this.scores.length} parts ${more} more would have been anomalous, ${fewer} fewer.`;
  }

  drawFlow() {
    const { books } = this.state;
    if (!books || books.captured === undefined) return;
    const causes = (counts, name) => Object.entries(counts).map(([cause, count]) => [`${name}: ${cause.replaceAll("_", " ")}`, count, true]);
    const frames = [
      ["captured", books.captured, "head"], ["inspected", books.inspected], ["in flight", books.in_flight],
      ...causes(books.dropped, "dropped"), ...causes(books.failed, "failed"),
    ];
    const missed = this.state.triggers ? sum(this.state.triggers.missed) : 0;
    if (this.state.triggers) frames.push(["missed triggers", missed, missed > 0]);
    if (books.late) frames.push(["decided late", books.late, true]);
    const results = [
      ["carried + inspected", books.carried + books.inspected, "head"], ["delivered", books.delivered],
      ["waiting in the spool", books.spooled], ...causes(books.expired, "expired"),
    ];
    const rows = (lines) => lines.map(([name, count, mark]) => {
      const row = make("tr", undefined, mark === "head" ? "head" : mark ? "bad" : "");
      const head = make("th", name);
      head.scope = "row";
      row.append(head, make("td", number(count)));
      return row;
    });
    this.find(".frames").replaceChildren(...rows(frames));
    this.find(".results").replaceChildren(...rows(results));
    const line = this.find(".sum");
    line.classList.toggle("bad", !books.balanced);
    setText(line, books.balanced
      ? `${number(books.captured)} = ${number(books.inspected)} + ${number(books.in_flight)} + ${number(sum(books.dropped))} + ${number(sum(books.failed))}: the books balance`
      : "The books do not balance.");
  }
}

// ---- the page

const lanes = new Map();

function take(document_) {
  setText(byId("thing"), document_.thing || "");
  const root = byId("lanes");
  for (const [name, state] of Object.entries(document_.lanes)) {
    if (!lanes.has(name)) {
      const lane = new Lane(name);
      lanes.set(name, lane);
      root.append(lane.root);
    }
    lanes.get(name).take(state);
  }
  for (const [name, lane] of lanes) {
    if (name in document_.lanes) continue;
    lane.root.remove();
    lanes.delete(name);
  }
  byId("empty").hidden = lanes.size > 0;
  drawFacts(document_);
}

function drawFacts(document_) {
  const waiting = Object.values(document_.lanes).reduce((total, lane) => total + ((lane.books || {}).spooled || 0), 0);
  const facts = [["Spool", `${number(waiting)} waiting`, Boolean((document_.spool || {}).trouble)]];
  const delivery = (document_.delivery || {}).state;
  if (delivery && delivery !== "off") facts.push(["Delivery", delivery, delivery === "unconfirmed"]);
  const broken = Object.entries(document_.outputs || {}).filter(([, output]) => output.state === "broken");
  if (Object.keys(document_.outputs || {}).length) {
    facts.push(["Outputs", broken.length ? `broken: ${broken.map(([name]) => name).join(", ")}` : "in order", broken.length > 0]);
  }
  facts.push(["Version", (document_.versions || {}).edge_agent, false]);
  byId("facts").replaceChildren(...facts.filter(([, text]) => text).map(([name, text, bad]) => {
    const group = make("div", undefined, bad ? "bad" : "");
    group.append(make("dt", name), make("dd", text));
    return group;
  }));
}

function link(text, lost) {
  setText(byId("link"), text);
  byId("link").classList.toggle("lost", lost);
}

// Changes may come before the whole does; those that are in it already are passed over.
async function start() {
  let whole = null;
  const waiting = [];
  const events = new EventSource("/events");
  const again = () => {
    if (events.readyState === EventSource.CLOSED && whole === undefined) return;
    events.close();
    whole = undefined;
    setTimeout(start, 1000);
  };
  events.addEventListener("change", (event) => {
    const change = [Number(event.lastEventId), JSON.parse(event.data)];
    if (whole === null) waiting.push(change);
    else if (whole !== undefined) take(change[1]);
  });
  events.addEventListener("reset", again);
  events.onerror = () => {
    link("no connection to the inspector", true);
    again();
  };
  try {
    const found = await get("/state");
    if (whole === undefined) return;
    take(found);
    whole = found.id;
    for (const [id, change] of waiting) if (id > whole) take(change);
    link("live", false);
  } catch {
    link("no connection to the inspector", true);
    again();
  }
}

start();
