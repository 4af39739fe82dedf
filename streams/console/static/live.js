// Crossings as they come, the latest on top. What comes while it is paused is shown when it goes on.
"use strict";

const live = document.querySelector("[data-live]");
const MOST_ROWS = 200;

function start_live() {
  const { language, show_times } = window.tideline;
  const words = JSON.parse(live.dataset.words);
  const [table, empty] = [live.querySelector("table"), live.querySelector("[data-live-empty]")];
  const body = table.querySelector("tbody");
  const state = document.querySelector("[data-live-state]");
  const pause = document.querySelector("[data-live-pause]");
  const whole = new Intl.NumberFormat(language, { maximumFractionDigits: 0 });
  let [is_paused, waiting] = [false, []];

  function element(name, text, class_name) {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (class_name !== undefined) made.className = class_name;
    return made;
  }

  function link(text, address) {
    const made = element("a", text);
    made.href = address;
    return made;
  }

  const score = (value) => (value === null || value === undefined ? "–" : whole.format(value));

  function why(data) {
    const parts = [words.origins[data.origin] ?? data.origin];
    if (data.caused_by_goal) parts.push(words.goal);
    for (const reason of (data.reasons ?? []).slice(0, 2)) {
      const told = words.features[`${reason.feature}|${reason.level}`];
      if (told !== undefined) parts.push(told);
    }
    return parts.join(" · ");
  }

  function row(event) {
    const { data } = event;
    const made = element("tr", undefined, data.in_segment ? "entered" : "exited");
    const user = element("th");
    user.scope = "row";
    user.append(link(event.subject, live.dataset.users + encodeURIComponent(event.subject)));
    const segment = element("td", undefined, "text");
    const direction = element("b", `${words.directions[data.in_segment ? "entered" : "exited"]} `);
    const name = words.segments[data.segment_id] ?? data.segment_name;
    segment.append(direction, link(name, live.dataset.segments + encodeURIComponent(data.segment_id)));
    const scores = element("td", data.score === null ? "–" : `${score(data.previous_score)} → ${score(data.score)}`);
    scores.dataset.label = table.dataset.score;
    const time = element("time", event.time);
    time.dateTime = event.time;
    time.dataset.time = "";
    const when = element("td");
    when.append(time);
    made.append(user, segment, scores, element("td", why(data), "text why"), when);
    show_times(made);
    return made;
  }

  /** Where it belongs by its time: partitions come one after the other at the beginning. */
  function show(event) {
    const made = row(event);
    made.dataset.at = String(Date.parse(event.time));
    const older = [...body.rows].find((other) => Number(other.dataset.at) <= Number(made.dataset.at));
    body.insertBefore(made, older ?? null);
    while (body.rows.length > MOST_ROWS) body.rows[MOST_ROWS].remove();
    table.hidden = false;
    empty.hidden = true;
  }

  function tell(name) {
    state.dataset.state = name;
    state.textContent = words.states[name];
    if (name === "paused" && waiting.length > 0) state.textContent += ` (${whole.format(waiting.length)})`;
  }

  function toggle() {
    is_paused = !is_paused;
    pause.setAttribute("aria-pressed", String(is_paused));
    pause.querySelector("span").textContent = is_paused ? words.resume : words.pause;
    if (!is_paused) for (const event of waiting.splice(0)) show(event);
    tell(is_paused ? "paused" : "live");
  }

  const source = new EventSource(live.dataset.live);
  source.addEventListener("open", () => tell(is_paused ? "paused" : "live"));
  source.addEventListener("error", () => tell(source.readyState === EventSource.CLOSED ? "closed" : "connecting"));
  source.addEventListener("transition", (message) => {
    const event = JSON.parse(message.data);
    if (!is_paused) return show(event);
    waiting.push(event);
    if (waiting.length > MOST_ROWS) waiting.shift();
    tell("paused");
  });
  pause.addEventListener("click", toggle);
}

if (live !== null) start_live();
