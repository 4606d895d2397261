// The facts of a token, on hover, focus or tap.

const facts = $("facts");
let hiding = 0;
const showFacts = (span) => {
  clearTimeout(hiding);
  const it = span.facts;
  const pairs = make("dl", "");
  const pair = (name, value) => pairs.append(make("dt", "", `${name}: `), make("dd", "", `${value} `));
  pair("Without the preferences", percentage(it.base_logprob));
  if (typeof it.pref_logprob === "number") pair("With them in the prompt", percentage(it.pref_logprob));
  pair("In this answer", percentage(it.logprob));
  pair("Shift", `${signed(it.shift)} nats`);
  pair("Divergence from plain", `${it.kl_from_base === null ? "∞" : it.kl_from_base.toFixed(2)} nats`);
  const name = make("bdi", "", label(it.text));
  facts.replaceChildren(make("b", "", name), ` ${likelier(it.shift)}${Number.isFinite(it.shift) ? " with the preferences" : ""} `, pairs);
  facts.hidden = false;
  const [place, box] = [span.getClientRects()[0], facts.getBoundingClientRect()];
  if (!place) return;
  const isBelow = place.bottom + box.height + 12 < innerHeight || place.top < box.height + 12;
  facts.style.top = `${scrollY + (isBelow ? place.bottom + 6 : place.top - box.height - 6)}px`;
  facts.style.left = `${Math.max(12, Math.min(place.left, document.documentElement.clientWidth - box.width - 12))}px`;
};
const hideFacts = () => { facts.hidden = true; };
const hideSoon = () => {
  clearTimeout(hiding);
  const focused = document.activeElement;
  hiding = setTimeout(() => (focused.facts && focused === document.activeElement ? showFacts(focused) : hideFacts()), 150);
};
const tokenOf = (event) => event.target.closest?.(".turn .t");
$("turns").addEventListener("pointerover", (event) => {
  if (tokenOf(event)) showFacts(tokenOf(event));
  else hideSoon();
});
$("turns").addEventListener("pointerleave", hideSoon);
facts.addEventListener("pointerenter", () => clearTimeout(hiding));
facts.addEventListener("pointerleave", hideSoon);
$("turns").addEventListener("focusin", (event) => { if (tokenOf(event)) showFacts(tokenOf(event)); });
$("turns").addEventListener("focusout", hideSoon);
const choose = (span) => {
  for (const it of span.parentElement.querySelectorAll(".t[tabindex='0']")) it.tabIndex = -1;
  span.tabIndex = 0;
  showFacts(span);
  span.focus();
};
$("turns").addEventListener("click", (event) => { if (tokenOf(event)) choose(tokenOf(event)); });
$("turns").addEventListener("keydown", (event) => {
  const span = tokenOf(event);
  if (!span || event.ctrlKey || event.metaKey || event.altKey) return;
  const all = [...span.parentElement.querySelectorAll(".t")];
  const at = all.indexOf(span);
  const moves = { ArrowLeft: at - 1, ArrowUp: at - 1, ArrowRight: at + 1, ArrowDown: at + 1, Home: 0, End: all.length - 1 };
  if (!(event.key in moves)) return;
  event.preventDefault();
  choose(all[Math.min(Math.max(moves[event.key], 0), all.length - 1)]);
});
document.addEventListener("keydown", (event) => { if (event.key === "Escape") hideFacts(); });
