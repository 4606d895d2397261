"use strict";
// Shows the figures of the token under the pointer, under the focus, or chosen last.
(() => {
  const { scale, labels, tokens } = JSON.parse(document.getElementById("data").textContent);
  const names = [...document.querySelectorAll(".prefs li[data-name]")].map((it) => it.dataset.name);
  const weights = [...document.querySelectorAll(".prefs li[data-name]")].map((it) => Number(it.dataset.weight));
  const panel = document.getElementById("panel");
  const answer = document.getElementById("answer");
  const elements = [...answer.querySelectorAll(".t")];
  if (!elements.length) return;
  document.documentElement.classList.add("js");
  panel.hidden = false;

  const make = (tag, name, ...parts) => {
    const made = document.createElement(tag);
    if (name) made.className = name;
    made.append(...parts);
    return made;
  };
  const percentage = (logprob) => {
    const percent = 100 * Math.exp(logprob);
    if (percent >= 10) return `${percent.toFixed(1)}%`;
    if (percent >= 0.01) return `${percent.toFixed(2)}%`;
    return logprob <= -9999 ? "0%" : "<0.01%";
  };
  const short = (value) => value.toFixed(2).replace(/\.?0+$/, "");
  const nats = (value) => (value === null ? "∞" : value.toFixed(2));
  const signed = (value) => {
    const number = Math.abs(value) >= 9999 ? "∞" : Math.abs(value).toFixed(2);
    return Number(number) === 0 ? number : `${value < 0 ? "−" : "+"}${number}`;
  };

  // The likeliest tokens of all three policies, with the logarithms that are known.
  const candidates = (own, policies) => {
    const rows = new Map([[own, [null, null, null]]]);
    policies.forEach(([logprob, ...top], column) => {
      rows.get(own)[column] = logprob;
      for (let at = 0; at < top.length; at += 2) {
        if (!rows.has(top[at])) rows.set(top[at], [null, null, null]);
        rows.get(top[at])[column] = top[at + 1];
      }
    });
    const rank = (row) => Math.max(row[2] ?? -9999, (row[1] ?? -9999) - 3, (row[0] ?? -9999) - 6);
    const sorted = [...rows].sort((one, other) => rank(other[1]) - rank(one[1]));
    const most = sorted.slice(0, 10);
    return most.some(([id]) => id === own) ? most : [...most.slice(0, 9), [own, rows.get(own)]];
  };
  const meter = (logprob, policy) => {
    if (logprob === null) {
      const least = policy.length > 1 ? policy[policy.length - 1] : 0;
      const shown = percentage(least);
      return make("span", "meter unknown", shown.startsWith("<") ? shown : `<${shown}`);
    }
    const bar = make("i", "");
    bar.style.width = `${100 * Math.exp(logprob)}%`;
    return make("span", "meter", bar, make("b", "", percentage(logprob)));
  };
  const likeliest = (own, policies) => {
    const body = make("tbody", "");
    for (const [id, row] of candidates(own, policies)) {
      const name = make("th", "", labels[id]);
      name.scope = "row";
      name.title = labels[id];
      const cells = row.map((logprob, column) => make("td", "", meter(logprob, policies[column])));
      body.append(make("tr", id === own ? "own" : "", name, ...cells));
    }
    const head = ["token", "base", "pref", "policy"].map((name) => make("th", "", name));
    head.forEach((it) => { it.scope = "col"; });
    return make("table", "likely", make("thead", "", make("tr", "", ...head)), body);
  };
  const pushes = (shifts, direction) => {
    const grid = make("div", "push");
    const effects = shifts.map((shift, at) => direction * weights[at] * shift);
    const most = effects.indexOf(Math.max(...effects));
    shifts.forEach((shift, at) => {
      const bar = make("i", shift < 0 ? "minus" : "plus");
      bar.style.width = `${Math.min(Math.abs(shift) / 4, 1) * 50}%`;
      const name = make("span", at === most && effects[at] > 0 ? "most" : "", names[at]);
      name.title = names[at];
      grid.append(name, make("div", "track", bar), make("span", "right", signed(shift)));
    });
    return grid;
  };
  const pairs = (...rows) => {
    const list = make("dl", "pairs");
    for (const [name, value, note] of rows) {
      const shown = make("dd", "", value);
      if (note) shown.append(make("span", "note muted", note));
      list.append(make("dt", "", name), shown);
    }
    return list;
  };
  const columns = panel.parentElement;
  const closing = make("button", "", "Close");
  closing.type = "button";
  const close = () => columns.classList.remove("open");
  closing.addEventListener("click", close);
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") close(); });

  const cursor = document.getElementById("cursor");
  const show = (at) => {
    const [id, text, shift, words, used, note, klBase, klPref, shifts, ...policies] = tokens[at];
    const level = [...elements[at].classList].find((it) => /^[ud]\d$/.test(it)) ?? "";
    const parts = [
      make("div", "what",
        make("span", "over", "Token"),
        make("span", "muted number", `${at + 1} of ${tokens.length}`),
        closing),
      make("div", `chip ${level}`, text),
      make("p", "moved", `${words} `, make("small", "number", `${shift} nats`)),
      make("h3", "", "Likeliest here"),
      likeliest(id, policies),
    ];
    if (shifts.length > 1) {
      parts.push(make("h3", "", "Each preference alone, against base (nats)"));
      parts.push(pushes(shifts, level[0] === "u" ? 1 : level[0] === "d" ? -1 : 0));
    }
    parts.push(make("h3", "", "The whole distribution"));
    parts.push(pairs(
      ["Divergence from base", `${nats(klBase)} nats`],
      ["Divergence from pref", `${nats(klPref)} nats`],
      ["Strength used", note ? `${short(used)} of ${short(scale)}` : short(used), note && `, ${note}`]));
    const keys = make("p", "keys muted", "");
    keys.append(make("kbd", "", "←"), " ", make("kbd", "", "→"), " step through the tokens");
    panel.replaceChildren(...parts, keys);
    cursor.setAttribute("x", at);
    cursor.removeAttribute("visibility");
  };

  let chosen = 0;
  const choose = (at, focus) => {
    elements[chosen].tabIndex = -1;
    elements[chosen].removeAttribute("aria-selected");
    chosen = at;
    elements[at].tabIndex = 0;
    elements[at].setAttribute("aria-selected", "true");
    show(at);
    if (focus) {
      columns.classList.add("open");
      elements[at].focus();
    }
  };
  const position = (target) => {
    const element = target.closest ? target.closest(".t") : null;
    return element ? Number(element.id.slice(1)) - 1 : -1;
  };
  elements.forEach((it) => { it.tabIndex = -1; });
  answer.addEventListener("pointerover", (event) => {
    const at = position(event.target);
    show(at < 0 ? chosen : at);
  });
  answer.addEventListener("pointerleave", () => show(chosen));
  answer.addEventListener("focusin", (event) => {
    const at = position(event.target);
    if (at < 0) return;
    columns.classList.add("open");
    if (at === chosen) show(at);
    else choose(at, false);
  });
  answer.addEventListener("click", (event) => {
    const at = position(event.target);
    if (at >= 0) choose(at, true);
  });
  answer.addEventListener("keydown", (event) => {
    const last = elements.length - 1;
    const moves = { ArrowLeft: chosen - 1, ArrowRight: chosen + 1, ArrowUp: chosen - 1, ArrowDown: chosen + 1, PageUp: chosen - 20, PageDown: chosen + 20, Home: 0, End: last };
    if (!(event.key in moves) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    choose(Math.min(Math.max(moves[event.key], 0), last), true);
  });
  const plot = document.getElementById("shifts");
  const pointed = (event) => {
    const box = plot.getBoundingClientRect();
    const at = Math.floor(((event.clientX - box.left) / box.width) * tokens.length);
    return Math.min(Math.max(at, 0), tokens.length - 1);
  };
  plot.addEventListener("pointermove", (event) => show(pointed(event)));
  plot.addEventListener("pointerleave", () => show(chosen));
  plot.addEventListener("click", (event) => choose(pointed(event), true));
  document.querySelectorAll("a[href^='#t']").forEach((link) => link.addEventListener("click", (event) => {
    event.preventDefault();
    choose(Number(link.hash.slice(2)) - 1, true);
  }));
  const linked = Number(location.hash.slice(2));
  choose(linked >= 1 && linked <= tokens.length ? linked - 1 : Number(panel.dataset.first), false);
})();
