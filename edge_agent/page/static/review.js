"use strict";

// Recorded images, one by one, the newest first: is the verdict right? One key says so.
(() => {
  const MOST = 24;
  const root = byId("review");
  const find = (selector) => root.querySelector(selector);
  const filters = find("form");
  const note = find(".note");

  let images = [];
  let at = 0;
  let more = false;
  let loading = false;
  let numbers = { recorded: 0, matching: 0, right: 0, wrong: 0 };
  // The newest search: answers to older ones are passed over.
  let search = 0;
  // Names that were judged here, for undo; notes that are not sent yet; reviews go out one after the other.
  const judged = [];
  const drafts = new Map();
  let sending = Promise.resolve();

  const lane = () => filters.elements.lane.value;
  const path = (image, kind) => `/review/${encodeURIComponent(image.lane)}/${image.name}${kind ? `/${kind}` : ""}`;

  async function call(where, body) {
    const asked = body === undefined ? { headers: { Accept: "application/json" } }
      : { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
    let answer;
    try {
      answer = await fetch(where, asked);
    } catch {
      throw new Error("The inspector does not answer.");
    }
    if (answer.status === 401) location.replace("/login");
    const document_ = await answer.json();
    if (!answer.ok) throw Object.assign(new Error(document_.status), { gone: answer.status === 404 });
    return document_;
  }

  // ---- what is looked for

  let searches = 0;

  async function busy(work) {
    searches += 1;
    root.setAttribute("aria-busy", "true");
    await work();
    searches -= 1;
    root.setAttribute("aria-busy", String(searches > 0));
  }

  // The figures of a search, and its images, each with its lane.
  async function list(before) {
    const from = lane();
    const found = await call(asked(before));
    return { ...found, images: found.images.map((image) => ({ ...image, lane: from })) };
  }

  function asked(before) {
    const fields = new URLSearchParams({ most: MOST, before });
    for (const name of ["verdict", "class", "reviewed", "for", "below"]) fields.set(name, filters.elements[name].value);
    if (!fields.get("below")) fields.delete("below");
    for (const name of ["since", "until"]) {
      const { value } = filters.elements[name];
      if (value) fields.set(name, new Date(value).getTime() / 1000);
    }
    return `/review/${encodeURIComponent(lane())}?${fields}`;
  }

  async function open() {
    try {
      const { recording, lanes: names } = await call("/review");
      choices(filters.elements.lane, Object.fromEntries(names.map((name) => [name, null])), null);
      find(".which").hidden = !names.length;
      if (names.length) {
        await look();
      } else {
        nothing(recording ? "Nothing is recorded yet." : "Nothing is recorded: the recorder is off. Set recorder.path in the configuration.");
      }
    } catch (error) {
      nothing(error.message);
    }
  }

  async function look() {
    search += 1;
    const mine = search;
    setText(find(".counts"), "looking through what is recorded …");
    try {
      const found = await list("");
      if (mine !== search) return;
      numbers = found;
      images = found.images;
      more = images.length === MOST;
      at = 0;
      judged.length = 0;
      choices(filters.elements.class, found.classes, "any");
      choices(filters.elements.for, found.reasons, "any");
      find(".neighbours").replaceChildren(...images.map(neighbour));
      if (!images.length) {
        nothing(found.recorded ? "No recorded image is like that." : "Nothing is recorded yet.");
        return;
      }
      find(".nothing").hidden = true;
      find(".desk").hidden = false;
      show();
    } catch (error) {
      if (mine === search) nothing(error.message);
    }
  }

  async function lookFurther() {
    if (!more || loading) return;
    loading = true;
    const mine = search;
    try {
      const found = await list(images.at(-1).name);
      if (mine !== search) return;
      more = found.images.length === MOST;
      images.push(...found.images);
      find(".neighbours").append(...found.images.map(neighbour));
    } catch (error) {
      tell(error.message);
    } finally {
      loading = false;
      if (mine === search) mark();
    }
  }

  function nothing(text) {
    images = [];
    find(".neighbours").replaceChildren();
    find(".desk").hidden = true;
    setText(find(".counts"), "");
    setText(find(".nothing"), text);
    find(".nothing").hidden = false;
  }

  // Names with their numbers; what is chosen stays chosen.
  function choices(select, counts, any) {
    const chosen = select.value;
    const options = Object.entries(counts).map(([name, count]) => new Option(count === null ? name : `${name} (${number(count)})`, name));
    if (any !== null) options.unshift(new Option(any, ""));
    if (chosen && !(chosen in counts)) options.push(new Option(chosen, chosen));
    select.replaceChildren(...options);
    if (chosen) select.value = chosen;
  }

  // ---- what is seen

  function neighbour(image) {
    const item = make("li");
    const button = make("button");
    const picture = make("img");
    picture.alt = "";
    picture.loading = "lazy";
    picture.src = path(image, "thumbnail");
    picture.addEventListener("error", () => picture.remove());
    button.append(picture, make("span"));
    button.addEventListener("click", () => go(images.indexOf(image)));
    item.append(button);
    drawNeighbour(item, image);
    return item;
  }

  function drawNeighbour(item, image) {
    const word = image.anomalous ? "anomalous" : "normal";
    const said = image.gone ? "gone" : image.review ? image.review.verdict : "not reviewed";
    const button = item.firstElementChild;
    item.className = `${word}${image.gone ? " gone" : ""}`;
    setText(button.querySelector("span"), `${image.anomalous ? "✕" : "✓"} ${image.review ? image.review.verdict : image.confidence.toFixed(2)}`);
    button.setAttribute("aria-label", `Part ${image.sequence}: ${word}, ${said}`);
  }

  function mark() {
    [...find(".neighbours").children].forEach((item, index) => {
      const button = item.firstElementChild;
      if (index !== at) {
        button.removeAttribute("aria-current");
      } else if (!button.hasAttribute("aria-current")) {
        button.setAttribute("aria-current", "true");
        const list = find(".neighbours");
        list.scrollLeft = item.offsetLeft - (list.clientWidth - item.offsetWidth) / 2;
      }
    });
    find(".newer").disabled = at === 0;
    find(".older").disabled = at >= images.length - 1 && !more;
  }

  function show() {
    const image = images[at];
    const word = image.anomalous ? "anomalous" : "normal";
    const picture = find(".picture");
    const over = find(".over");
    const source = path(image, "frame");
    if (picture.getAttribute("src") !== source) {
      picture.src = source;
      over.removeAttribute("src");
      if (image.anomalous && image.classes.length) over.src = path(image, "mask");
    }
    picture.alt = `Part ${image.sequence}, ${word}`;
    setText(find("figcaption"), `${image.sequence} · ${new Date(image.at_ms).toLocaleString("en-GB")} · ${image.source}`);
    const verdict = find(".said strong");
    verdict.className = word;
    setText(verdict, image.anomalous ? "✕ anomalous" : "✓ normal");
    setText(find(".said span"), `confidence ${image.confidence.toFixed(3)}`);
    find(".said ul").replaceChildren(...image.classes.map((one) => {
      const item = make("li");
      const swatch = make("span", undefined, "swatch");
      swatch.style.background = one.hex_color;
      item.append(swatch, `${one.name} ${(one.area * 100).toFixed(2)} %`);
      return item;
    }));
    note.value = drafts.get(image.name) ?? (image.review ? image.review.note : "");
    drawReview(image);
    mark();
    const next = images[at + 1];
    if (next) new Image().src = path(next, "frame");
    if (at >= images.length - 6) lookFurther();
  }

  function drawReview(image) {
    const { review } = image;
    const by = review ? `Verdict ${review.verdict}; label: ` : image.by_person ? "Not reviewed; a person's label: " : "Not reviewed; the model's label: ";
    setText(find(".label"), image.gone ? "This image is not there any more." : `${by}${image.label}`);
    find(".right").setAttribute("aria-pressed", String(Boolean(review) && review.verdict === "right"));
    find(".wrong").setAttribute("aria-pressed", String(Boolean(review) && review.verdict === "wrong"));
    find(".undo").disabled = !judged.length && !review;
    const { component = "", version } = image.model;
    const facts = [["Recorded for", image.reason], ["Model", `${component} ${version || ""}`], ["Source", image.source]];
    find(".about dl").replaceChildren(...facts.flatMap(([name, text]) => [make("dt", name), make("dd", text)]));
    const done = numbers.right + numbers.wrong;
    const share = done ? `; the model was right in ${number((100 * numbers.right) / done, 1)} % of these` : "";
    setText(find(".counts"), `${number(numbers.matching)} of ${number(numbers.recorded)} recorded images, ${number(done)} reviewed${share}`);
  }

  function go(index) {
    if (index < 0 || index >= images.length) return;
    at = index;
    show();
  }

  // ---- what a person says

  function say(image, verdict, text) {
    sending = sending.then(async () => {
      const before = image.review;
      try {
        Object.assign(image, await call(path(image), { verdict, note: text }));
        if (before) numbers[before.verdict] -= 1;
        if (image.review) numbers[image.review.verdict] += 1;
        setText(find(".told"), image.review
          ? `Part ${image.sequence}: verdict ${image.review.verdict}, label ${image.label}.`
          : `Part ${image.sequence}: the review is taken back.`);
      } catch (error) {
        image.gone = error.gone;
        tell(error.message);
      }
      const index = images.indexOf(image);
      if (index < 0) return;
      drawNeighbour(find(".neighbours").children[index], image);
      drawReview(images[at]);
    });
  }

  function judge(verdict) {
    const image = images[at];
    if (!image || image.gone) return;
    say(image, verdict, note.value.trim());
    drafts.delete(image.name);
    if (judged.includes(image)) judged.splice(judged.indexOf(image), 1);
    judged.push(image);
    drawReview(image);
    go(at + 1);
  }

  function undo() {
    const image = judged.pop() || (images[at] && images[at].review ? images[at] : null);
    if (!image) return;
    say(image, null, "");
    go(images.indexOf(image));
  }

  // A note that comes after the review is kept with it.
  function keepNote() {
    const image = images[at];
    if (image && image.review && !image.gone && note.value.trim() !== image.review.note) {
      say(image, image.review.verdict, note.value.trim());
      drafts.delete(image.name);
    }
    root.focus();
  }

  const KEYS = {
    r: () => judge("right"),
    w: () => judge("wrong"),
    u: undo,
    n: () => note.focus(),
    m: () => find(".shows").click(),
    ArrowLeft: () => go(at - 1),
    ArrowRight: () => go(at + 1),
  };

  document.addEventListener("keydown", (event) => {
    if (root.hidden || event.ctrlKey || event.altKey || event.metaKey || byId("ask").open) return;
    if (event.target === note) {
      if (event.key === "Enter") keepNote();
      if (event.key === "Escape") root.focus();
      return;
    }
    if (event.target.matches("input:not([type=checkbox]), select") || !find(".keys").checked) return;
    const act = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!act || !images.length || (event.repeat && event.key.length === 1)) return;
    event.preventDefault();
    act();
  });

  note.addEventListener("input", () => drafts.set(images[at].name, note.value));
  find(".right").addEventListener("click", KEYS.r);
  find(".wrong").addEventListener("click", KEYS.w);
  find(".undo").addEventListener("click", KEYS.u);
  find(".newer").addEventListener("click", KEYS.ArrowLeft);
  find(".older").addEventListener("click", KEYS.ArrowRight);
  find(".over").addEventListener("error", () => find(".over").removeAttribute("src"));
  find(".shows").addEventListener("change", () => { find(".over").style.visibility = find(".shows").checked ? "" : "hidden"; });
  filters.addEventListener("change", () => busy(look));
  filters.addEventListener("submit", (event) => {
    event.preventDefault();
    busy(open);
  });
  find(".which").open = !matchMedia("(max-width: 620px), (max-height: 640px)").matches;

  function route() {
    const reviewing = location.hash === "#/review";
    root.hidden = !reviewing;
    byId("lanes").hidden = reviewing;
    for (const link of document.querySelectorAll("nav a")) {
      const here = link.hash === "#/review" ? reviewing : !reviewing;
      if (here) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    if (reviewing) busy(open);
  }

  addEventListener("hashchange", route);
  route();
})();
