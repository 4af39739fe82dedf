// The two-ended slider over the score: an estimate from the loaded buckets while it moves, the exact one when it rests.
"use strict";

const slider = document.querySelector("[data-slider]");

function start_slider() {
  const { ask_console, language } = window.tideline;
  const words = JSON.parse(slider.dataset.words);
  const buckets = JSON.parse(slider.dataset.buckets).map(([low, high, users, mean]) => ({ low, high, users, mean }));
  const [low_end, high_end] = ["low", "high"].map((end) => slider.querySelector(`[data-end=${end}]`));
  const bars = document.querySelectorAll(".bucket");
  const picks = document.querySelectorAll("[data-pick]");
  const creators = document.querySelectorAll("[data-create]");
  const suggestions = document.querySelectorAll("[data-suggestions] > li");
  const whole = new Intl.NumberFormat(language, { maximumFractionDigits: 0 });
  const fine = new Intl.NumberFormat(language, { maximumFractionDigits: 1, minimumFractionDigits: 1 });
  const edges = new Intl.NumberFormat(language, { maximumFractionDigits: 1 });
  const shares = new Intl.NumberFormat(language, { style: "percent", maximumFractionDigits: 1 });
  let category = slider.dataset.category;
  let asked = null;

  const told = (name) => document.querySelector(`[data-told=${name}]`);
  const fill = (text, values) => text.replace(/\{(\w+)\}/g, (_, name) => values[name]);
  const selected = () => [Number(low_end.value), Number(high_end.value)];
  const amount = (value) => (value >= 9.95 ? whole : fine).format(value);

  /** `Top 25%`: what a range of ranks is called; for other scales the scores themselves. */
  function rank_words(low, high) {
    if (low <= 0 && high >= 100) return words.everybody;
    const values = { low: edges.format(low), high: edges.format(high), share: "" };
    if (slider.dataset.scale !== "percentile") return fill(words.scores, values);
    values.share = shares.format((high >= 100 ? 100 - low : high) / 100);
    if (high >= 100) return fill(words.top, values);
    return fill(low <= 0 ? words.bottom : words.between, values);
  }

  /** Users and expected goals from the buckets; of one that is cut, the part that is inside. */
  function estimate(low, high) {
    let [users, expected, is_known] = [0, 0, false];
    for (const bucket of buckets) {
      const inside = Math.min(high, bucket.high) - Math.max(low, bucket.low);
      if (inside <= 0) continue;
      const part = (bucket.users * inside) / (bucket.high - bucket.low);
      users += part;
      if (bucket.mean !== null) {
        expected += part * bucket.mean;
        is_known = true;
      }
    }
    return { users, expected: is_known ? expected : null };
  }

  function address() {
    const [low, high] = selected();
    return category ? `category=${category}` : `min=${low}&max=${high}`;
  }

  function show() {
    const [low, high] = selected();
    slider.style.setProperty("--from", `${low}%`);
    slider.style.setProperty("--to", `${high}%`);
    for (const bar of bars) {
      const is_inside = Number(bar.dataset.low) < high && Number(bar.dataset.high) > low;
      bar.classList.toggle("off", !is_inside);
    }
    for (const pick of picks) pick.setAttribute("aria-pressed", String(pick.dataset.pick === category));
    const middle = (low + high) / 2;
    for (const each of suggestions) {
      each.hidden = Number(each.dataset.low) > middle || Number(each.dataset.high) <= middle;
    }
    told("rank").textContent = rank_words(low, high);
    for (const end of [low_end, high_end]) end.setAttribute("aria-valuetext", `${end.value}: ${rank_words(low, high)}`);
    // The end that could get stuck below the other one is on top.
    low_end.classList.toggle("above", low > 50);
  }

  function show_estimate() {
    const [low, high] = selected();
    const { users, expected } = estimate(low, high);
    const all = buckets.reduce((sum, bucket) => sum + bucket.users, 0);
    told("users").textContent = fill(words.about, { n: whole.format(users) });
    told("share").textContent = all ? shares.format(users / all) : "";
    told("expected").textContent = expected === null ? "–" : fill(words.about, { n: amount(expected) });
    told("expected_not").textContent = expected === null ? "–" : fill(words.about, { n: amount(users - expected) });
    told("rate").textContent = expected === null || users === 0 ? "" : shares.format(expected / users);
  }

  async function ask() {
    asked?.abort();
    const own = new AbortController();
    asked = own;
    told("failed").hidden = true;
    window.history.replaceState(null, "", `?${slider.dataset.view}${address()}`);
    for (const each of creators) each.href = each.dataset.base + address();
    try {
      const found = await ask_console(`${slider.dataset.address}?${address()}`, own.signal);
      if (own.signal.aborted) return; // it came just as somebody moved on
      for (const [name, text] of Object.entries(found)) told(name).textContent = text;
    } catch (error) {
      if (own.signal.aborted) return;
      told("failed").hidden = false;
      told("failed").textContent = error.message;
    }
  }

  for (const [own, other, sign] of [[low_end, high_end, -1], [high_end, low_end, 1]]) {
    own.addEventListener("input", () => {
      asked?.abort(); // its figures would be those of another range
      own.value = String(Math.round(Number(own.value)));
      if ((Number(own.value) - Number(other.value)) * sign < 1) own.value = String(Number(other.value) + sign);
      category = "";
      show();
      show_estimate();
    });
    own.addEventListener("change", () => void ask());
  }
  for (const pick of picks) {
    pick.addEventListener("click", () => {
      category = pick.dataset.pick;
      low_end.value = pick.dataset.low;
      high_end.value = pick.dataset.high;
      show();
      void ask();
    });
  }
  show();
}

if (slider !== null) start_slider();
