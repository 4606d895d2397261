// The server.

const KEY = "amulet-key";
let key = sessionStorage.getItem(KEY);
let model = null;
let started = null; // until it is known who asks, and which model answers
let caller = { user_id: null, may_name_users: true };

class ServerError extends Error {
  constructor(status, message, code = null, param = null) {
    super(message);
    this.status = status;
    this.code = code;
    this.param = param;
  }
}
const UNREACHABLE = "The server cannot be reached. Is it running?";

const send = async (path, { method = "GET", body, headers = {}, signal } = {}) => {
  const sent = { ...headers };
  if (key) sent.Authorization = `Bearer ${key}`;
  if (body !== undefined) sent["Content-Type"] = "application/json";
  try {
    return await fetch(path, { method, headers: sent, signal, body: body && JSON.stringify(body), cache: "no-store", referrerPolicy: "no-referrer" });
  } catch (error) {
    throw error.name === "AbortError" ? error : new ServerError(0, UNREACHABLE);
  }
};
const failure = async (response) => {
  let [message, code, param] = ["", null, null];
  try {
    ({ message, code, param } = (await response.json()).error);
  } catch { /* another's error page, such as a proxy's */ }
  if (response.status === 429) {
    const seconds = Number(response.headers.get("Retry-After")) || 1;
    const wait = `Many people are asking just now. Try again in ${counted(seconds, "second")}.`;
    return new ServerError(429, wait, code);
  }
  return new ServerError(response.status, message || `The server answered with status ${response.status}.`, code, param);
};
// Sends a request; where the key is missing or wrong, asks for one and sends it again.
const call = async (path, options = {}) => {
  for (;;) {
    const used = key;
    const response = await send(path, options);
    if (response.ok) return response;
    if (response.status !== 401) throw await failure(response);
    if (used === key) await askForKey();
    if (model !== null) await checkCaller();
  }
};
// What one person was shown is not for the next one: another's key begins anew.
const checkCaller = async () => {
  const response = await send("v1/me");
  if (!response.ok) return; // the request that waits says what is wrong
  const now = await response.json();
  if (now.user_id === caller.user_id && now.may_name_users === caller.may_name_users) return;
  location.reload();
  await new Promise(() => {});
};

let asking = null;
const askForKey = () => {
  asking ??= new Promise((resolve, reject) => {
    $("key-words").textContent = key ? "It does not know the one that you gave." : "";
    $("key").value = "";
    $("key-button").hidden = false;
    $("key-dialog").showModal();
    $("key-dialog").onclose = () => {
      asking = null;
      if ($("key-dialog").returnValue !== "use") reject(new ServerError(401, "Without a key, this server answers nothing."));
      else resolve();
      $("key-dialog").returnValue = "";
    };
  });
  return asking;
};
$("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  key = $("key").value.trim();
  $("key").value = "";
  sessionStorage.setItem(KEY, key);
  $("key-dialog").close("use");
});
$("key-cancel").addEventListener("click", () => $("key-dialog").close(""));
$("key-button").addEventListener("click", async () => {
  if (key) { // what one key has shown is not for the next one
    sessionStorage.removeItem(KEY);
    location.reload();
  } else started = start();
});
