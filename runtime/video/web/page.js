"use strict";

// The server sends three events: "model" (title, classes), "state" (see Broadcast.state) and "ended". While nobody
// looks at the page, it hangs up, so that the device need not encode for it.

const RETRY_MS = 2000;
const UNHEARD_MS = 5000; // the server speaks twice a second
const SILENT_S = 2;
const MISSING_STEPS = 4; // half seconds

const element = (id) => document.getElementById(id);
const picture = element("picture");
const slider = element("opacity");

let events = null;
let retry = null;
let watchdog = null;
let viewer = "";
let watchedSince = 0;
let unwatched = false; // the picture does not come through
let paused = false;
let classes = [];

function connect() {
  hangUp();
  viewer = Math.random().toString(36).slice(2);
  events = new EventSource(`events?viewer=${viewer}`);
  events.addEventListener("model", (event) => {
    showModel(JSON.parse(event.data));
    watch();
  });
  events.addEventListener("state", (event) => {
    showState(JSON.parse(event.data));
    listen();
  });
  events.addEventListener("ended", () => {
    unreachable("ended", "Stream ended", "The stream has ended. If it starts again, it appears here.");
  });
  events.addEventListener("error", lost);
  listen();
}

function hangUp() {
  clearTimeout(retry);
  clearTimeout(watchdog);
  events?.close();
}

function listen() {
  clearTimeout(watchdog);
  watchdog = setTimeout(lost, UNHEARD_MS);
}

function watch() {
  watchedSince = Date.now();
  picture.src = `stream.mjpg?viewer=${viewer}&since=${watchedSince}`;
}

function lost() {
  unreachable("lost", "Connection lost, retrying", "Connection lost. Retrying; this is the last picture.");
}

function unreachable(state, status, notice) {
  hangUp();
  // After an end, a failed attempt to reach the next run is no news.
  if (state === "ended" || element("status").dataset.state !== "ended") {
    showStatus(state, status, notice);
  }
  document.body.classList.add("unreachable");
  retry = setTimeout(connect, RETRY_MS);
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    hangUp();
    picture.removeAttribute("src");
  } else {
    connect();
  }
});

// Controls

async function steer(order) {
  try {
    await fetch("control", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(order),
    });
  } catch {
    // The events tell that the connection is lost.
  }
}

element("pause").addEventListener("click", () => steer({ paused: !paused }));

let wanted = null; // the opacity that the server has not yet been told
let sending = false;

slider.addEventListener("input", async () => {
  showOpacity();
  wanted = slider.value / 100;
  if (sending) return;
  sending = true;
  while (wanted !== null) {
    const opacity = wanted;
    wanted = null;
    await steer({ opacity });
  }
  sending = false;
});

function showOpacity() {
  element("opacity-value").value = `${slider.value} %`;
}

// What the server says

function showModel(model) {
  document.title = `HyperSeg live: ${model.title}`;
  element("title").textContent = model.title;
  classes = model.classes.map(({ name, colour }) => {
    const row = document.createElement("li");
    for (const part of ["swatch", "name", "share", "track"]) {
      row.append(Object.assign(document.createElement("span"), { className: part }));
    }
    const [swatch, label, share, track] = row.children;
    const bar = Object.assign(document.createElement("div"), { className: "bar" });
    swatch.style.background = `rgb(${colour.join(" ")})`;
    label.textContent = name;
    track.append(bar);
    return { row, share, bar };
  });
  element("legend").replaceChildren(...classes.map(({ row }) => row));
}

function showState(state) {
  document.body.classList.remove("unreachable");
  // An image does not tell that its stream broke off or was refused; the server knows.
  if (state.watching) {
    unwatched = false;
  } else if (Date.now() - watchedSince > RETRY_MS) {
    unwatched = true;
    watch();
  }
  paused = state.paused;
  element("pause").textContent = paused ? "Resume" : "Pause";
  element("pause").setAttribute("aria-pressed", paused);
  if (!sending) {
    slider.value = Math.round(state.opacity * 100);
    showOpacity();
  }
  const watchers = `${state.viewers} watching`;
  element("facts").textContent = state.size ? `${state.size.join(" × ")} px · ${watchers}` : watchers;
  if (state.size) element("stage").style.aspectRatio = state.size.join(" / ");
  state.shares.forEach((value, index) => {
    const { row, share, bar } = classes[index];
    row.className = value ? "" : "absent";
    share.textContent = value === 0 ? "–" : value < 0.001 ? "< 0.1 %" : `${(100 * value).toFixed(1)} %`;
    bar.style.transform = `scaleX(${value})`;
  });
  showGraph("fps", state.history.fps, [], "");
  showGraph("latency", state.history.latency_ms, state.history.worst_latency_ms, " ms");
  if (unwatched) {
    showStatus("silent", "No picture", "The picture does not come through: too slow, or too many are watching. Retrying.");
  } else if (state.finished) {
    showStatus("ended", "Stream ended", "That was the last frame.");
  } else if (paused) {
    showStatus("paused", "Paused", "Paused for everyone who watches. Segmentation goes on.");
  } else if (state.silent_s > SILENT_S) {
    showStatus("silent", "No frames", `No frame for ${Math.round(state.silent_s)} s; waiting for the source.`);
  } else {
    showStatus("live", "Live", "");
  }
}

function showStatus(state, status, notice) {
  const pill = element("status");
  pill.dataset.state = state;
  if (pill.textContent !== status) pill.textContent = status;
  element("notice").textContent = notice;
  element("notice").hidden = !notice;
}

function showGraph(id, values, worst, unit) {
  const card = element(id);
  const top = roundUp(1.05 * Math.max(1, ...values, ...worst));
  card.querySelector(".line").setAttribute("d", path(values, top));
  card.querySelector(".worst")?.setAttribute("d", path(worst, top));
  card.querySelector(".top").textContent = `${top}${unit}`;
  const recent = values.slice(-3).findLast((value) => value !== null);
  card.querySelector(".now").textContent = recent === undefined ? "–" : `${recent.toFixed(1)}${unit}`;
}

// The next of 1, 2, 4, 5, 8, 10, 20, 40 ... : a scale that stays put while the values only jitter.
function roundUp(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return power * [1, 2, 4, 5, 8, 10].find((step) => step * power >= value);
}

// An SVG path in a box 100 high that breaks where values are missing for longer than slow frames explain.
function path(values, top) {
  let last = -Infinity;
  return values.map((value, index) => {
    if (value === null) return "";
    const pen = index - last > MISSING_STEPS ? "M" : "L";
    last = index;
    return `${pen}${index} ${(100 - (100 * value) / top).toFixed(1)}h0`; // h0: a lone value is a dot
  }).join("");
}

if (!document.hidden) connect();
