"use strict";
// The page of the server: asking, comparing, and looking at profiles. All texts become text nodes.

const $ = (id) => document.getElementById(id);
const settings = document.body.dataset;

const make = (tag, name, ...parts) => {
  const made = document.createElement(tag);
  if (name) made.className = name;
  made.append(...parts);
  return made;
};
const button = (words, act, name = "quiet") => {
  const made = make("button", name, words);
  made.type = "button";
  made.addEventListener("click", act);
  return made;
};
