// Figures in words, as in explanations.

const short = (value) => String(Number(Number(value).toFixed(2))).replace("-", "−");
const percentage = (logprob) => {
  const percent = 100 * Math.exp(logprob);
  if (percent >= 10) return `${percent.toFixed(1)}%`;
  if (percent >= 0.01) return `${percent.toFixed(2)}%`;
  return logprob <= -9999 ? "0%" : "<0.01%";
};
const likelier = (shift) => {
  if (!Number.isFinite(shift)) return `impossible ${shift > 0 ? "without" : "with"} them`;
  const factor = Math.exp(Math.min(Math.abs(shift), Math.log(1e6)));
  if (factor < 1.05) return "as likely";
  const exact = factor < 10 ? factor.toFixed(1) : Math.round(factor).toLocaleString("en");
  const times = Math.abs(shift) >= Math.log(1e6) ? "over a million" : exact;
  return `${times} times ${shift > 0 ? "likelier" : "less likely"}`;
};
const signed = (value) => {
  const number = Number.isFinite(value) ? Math.abs(value).toFixed(2) : "∞";
  return Number(number) === 0 ? number : `${value < 0 ? "−" : "+"}${number}`;
};
const tint = (shift) => {
  const level = Math.round((Math.min(Math.abs(shift) / settings.saturation, 1)) * settings.levels);
  return level ? `${shift > 0 ? "u" : "d"}${level}` : "";
};
const weightWords = (weight) => {
  if (weight === 0) return "0 · switched off";
  if (weight < 0) return `${short(weight)} · steers away`;
  return weight === 1 ? "1 · in full" : `${short(weight)} · less than full`;
};
const scaleWords = (scale) => {
  if (scale === 0) return "0: as if there were no preference.";
  if (scale < 0) return "Below 0: away from the preference.";
  if (scale < 1) return "Weaker than the preference in the prompt, which is 1.";
  if (scale === 1) return "1: the preference is in the prompt, and nothing more.";
  return `1 only puts the preference into the prompt; ${short(scale)} goes ${scale === 2 ? "twice" : `${short(scale)} times`} as far.`;
};
const moment = (text) =>
  new Date(text).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
const counted = (count, one, many = `${one}s`) => `${count.toLocaleString()} ${count === 1 ? one : many}`;
