// The parts of Preact that the page uses, with `html` for markup.
import { h, render } from "../vendor/preact.module.js";
import htm from "../vendor/htm.module.js";

export {
  useCallback, useEffect, useId, useLayoutEffect, useMemo, useReducer, useRef, useState,
} from "../vendor/hooks.module.js";
export const html = htm.bind(h);
export { render };
