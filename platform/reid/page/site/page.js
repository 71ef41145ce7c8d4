// Asks the server who is most like a picture, and shows what it answers; names are shown as text, never as markup.

const at = (id) => document.getElementById(id);
let latest = 0;

async function ask(address, request, picture, asked) {
  const turn = ++latest;
  at("query").src = picture;
  at("query").hidden = false;
  at("asked").textContent = asked;
  say("looking …");
  try {
    const response = await fetch(address, request);
    const answer = await response.json();
    if (turn !== latest) return;
    if (!response.ok) throw new Error(answer.error);
    at("matches").replaceChildren(...answer.map(shown));
    say(`${answer.length} nearest; click one to look for who is most like it`);
  } catch (error) {
    if (turn !== latest) return;
    at("matches").replaceChildren();
    say(error.message, true);
  }
}

function shown(match) {
  const item = at("match").content.cloneNode(true);
  const person = match.pid === null ? match.name : `person ${match.pid}`;
  item.querySelector("img").src = `images/${match.row}`;
  item.querySelector("b").textContent = `${match.distance.toFixed(3)} · ${person}`;
  item.querySelector("span").textContent = [match.split, match.camid && `camera ${match.camid}`, match.name]
    .filter(Boolean).join(" · ");
  item.querySelector("button").onclick = () =>
    ask(`nearest/${match.row}`, {}, `images/${match.row}`, match.name);
  return item;
}

function say(text, wrong = false) {
  at("said").textContent = text;
  at("said").classList.toggle("wrong", wrong);
}

function look(file) {
  if (file) ask("nearest", { method: "POST", body: file }, URL.createObjectURL(file), file.name);
}

at("file").onchange = (event) => look(event.target.files[0]);
document.onpaste = (event) => look(event.clipboardData.files[0]);
document.ondragover = (event) => { event.preventDefault(); at("drop").classList.add("over"); };
document.ondragleave = () => at("drop").classList.remove("over");
document.ondrop = (event) => {
  event.preventDefault();
  at("drop").classList.remove("over");
  look(event.dataTransfer.files[0]);
};
