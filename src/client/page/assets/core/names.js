// Names come from other people. They are shown as text only, isolated from the text around them,
// and with characters that cannot be seen, or that turn text around, made visible.
import { html } from "./html.js";

// The characters that `is_unsafe` in `src/types/escape.rs` lists. Joiners are looked at below.
const UNSEEN = new RegExp(
  "[\\p{Cc}\\p{Cs}\\u{ad}\\u{34f}\\u{61c}\\u{115f}\\u{1160}\\u{17b4}\\u{17b5}\\u{180b}-\\u{180f}" +
    "\\u{200b}-\\u{200f}\\u{2028}-\\u{202e}\\u{2060}-\\u{206f}\\u{3164}\\u{feff}\\u{ffa0}" +
    "\\u{fff0}-\\u{fffb}\\u{1bca0}-\\u{1bca3}\\u{1d173}-\\u{1d17a}\\u{e0000}-\\u{e0fff}]",
  "gu",
);
// A joiner between two signs of an emoji, or between letters of a script that joins, is seen.
const JOINED = /[\p{Extended_Pictographic}\p{Emoji_Modifier}\u{fe0f}\p{M}\p{Lo}]/u;
// Tags that follow a black flag spell a region.
const FLAG = /\u{1f3f4}[\u{e0020}-\u{e007e}]+\u{e007f}/gu;

function isSeen(name, at, sign) {
  if (sign === "\u200c" || sign === "\u200d") {
    const [before, after] = [[...name.slice(0, at)].at(-1), [...name.slice(at + 1)][0]];
    return JOINED.test(before ?? "") && JOINED.test(after ?? "");
  }
  if (sign.codePointAt(0) < 0xe0000) return false;
  for (const flag of name.matchAll(FLAG)) {
    if (at > flag.index && at < flag.index + flag[0].length) return true;
  }
  return false;
}

/** Splits a name into `{ text }` and `{ code }`, the number of a character that is not seen. */
export function pieces(name) {
  const list = [];
  let begun = 0;
  for (const found of name.matchAll(UNSEEN)) {
    if (isSeen(name, found.index, found[0])) continue;
    if (found.index > begun) list.push({ text: name.slice(begun, found.index) });
    list.push({ code: found[0].codePointAt(0).toString(16).toUpperCase().padStart(4, "0") });
    begun = found.index + found[0].length;
  }
  if (begun < name.length) list.push({ text: name.slice(begun) });
  return list;
}

/** Returns a name for attributes and other plain text, isolated from its surroundings. */
export function plain(name) {
  const text = pieces(String(name)).map((piece) => piece.text ?? `[U+${piece.code}]`).join("");
  return `\u2068${text}\u2069`;
}

/** Shows a name. */
export function Name({ of, cut = false }) {
  const list = pieces(String(of));
  const shown = list.map((piece) =>
    piece.code ? html`<span class="unseen">U+${piece.code}</span>` : piece.text);
  const title = cut ? list.map((piece) => piece.text ?? `[U+${piece.code}]`).join("") : undefined;
  return html`<bdi class=${cut ? "name cut" : "name"} title=${title}>${shown}</bdi>`;
}

/** Fills the places `{word}` of a sentence with plain text. */
export function fill(sentence, words) {
  return sentence.replace(/\{(\w+)\}/g, (_, word) => plain(words[word]));
}

/** Fills the places `{word}` of a sentence with names or other nodes. */
export function rich(sentence, words) {
  return sentence.split(/(\{\w+\})/).map((part) => {
    const word = /^\{(\w+)\}$/.exec(part)?.[1];
    if (!word) return part;
    const value = words[word];
    return typeof value === "string" ? html`<${Name} of=${value} />` : value;
  });
}
