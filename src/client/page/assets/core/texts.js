// The texts of the language that the browser asks for. A new language is one more file beside
// `texts.en.js` and one more entry here.
import en from "../texts.en.js";

const languages = { en };
const wanted = navigator.languages?.map((tag) => tag.split("-")[0]) ?? [];

export const t = languages[wanted.find((tag) => tag in languages)] ?? en;
document.documentElement.lang = t.language;
