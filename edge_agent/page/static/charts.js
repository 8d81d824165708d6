"use strict";

// Small drawings in SVG; each takes the element and its figures, and draws everything anew.
const charts = (() => {
  const SPACE = "http://www.w3.org/2000/svg";
  const WIDTH = 300;
  const HEIGHT = 100;

  function add(svg, name, attributes) {
    const element = document.createElementNS(SPACE, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    svg.append(element);
  }

  function begin(svg, label) {
    svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
    svg.setAttribute("aria-label", label);
    svg.replaceChildren();
  }

  function path(values, most) {
    if (values.length < 2) return "";
    const step = WIDTH / (values.length - 1);
    return values
      .map((value, index) => `${index ? "L" : "M"}${(index * step).toFixed(1)} ${(HEIGHT - (value / most) * (HEIGHT - 6)).toFixed(1)}`)
      .join("");
  }

  // One value a second; anomalous parts stand in the same bar.
  function rates(svg, seconds, label) {
    begin(svg, label);
    const most = Math.max(1, ...seconds.map((second) => second.inspected));
    const width = WIDTH / Math.max(60, seconds.length);
    const first = WIDTH - seconds.length * width;
    seconds.forEach((second, index) => {
      const whole = (second.inspected / most) * (HEIGHT - 6);
      const hot = (second.anomalous / most) * (HEIGHT - 6);
      const x = (first + index * width).toFixed(2);
      const wide = Math.max(width - 0.6, 0.4).toFixed(2);
      add(svg, "rect", { class: "bar", x, y: HEIGHT - whole, width: wide, height: whole - hot });
      add(svg, "rect", { class: "hot", x, y: HEIGHT - hot, width: wide, height: hot });
    });
  }

  function latencies(svg, seconds, label) {
    begin(svg, label);
    const most = Math.max(1, ...seconds.map((second) => second.worst));
    add(svg, "path", { class: "worst", d: path(seconds.map((second) => second.worst), most) });
    add(svg, "path", { class: "line", d: path(seconds.map((second) => second.mean), most) });
  }

  // Scores 0 to 1 in 40 bars: normal and anomalous by the threshold that is looked at; a dashed line is the one in force.
  function histogram(svg, scores, threshold, inForce, label) {
    begin(svg, label);
    const bins = new Array(40).fill(0);
    for (const score of scores) bins[Math.min(39, Math.floor(score * 40))] += 1;
    // By the root: single parts stay visible beside hundreds.
    const most = Math.sqrt(Math.max(1, ...bins));
    const width = WIDTH / bins.length;
    bins.forEach((count, index) => {
      const height = (Math.sqrt(count) / most) * (HEIGHT - 4);
      const hot = (index + 0.5) / bins.length >= threshold;
      add(svg, "rect", { class: hot ? "hot" : "cool", x: index * width + 0.4, y: HEIGHT - height, width: width - 0.8, height });
    });
    if (inForce !== null) add(svg, "line", { class: "now", x1: inForce * WIDTH, x2: inForce * WIDTH, y1: 0, y2: HEIGHT });
    add(svg, "line", { class: "at", x1: threshold * WIDTH, x2: threshold * WIDTH, y1: 0, y2: HEIGHT });
  }

  return { rates, latencies, histogram };
})();
