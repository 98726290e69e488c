// The screen that is shown is named by the URL's fragment, as `#/groups/<id>/members`.
import { useEffect, useState } from "./html.js";

const read = () => {
  const parts = location.hash.replace(/^#\/?/, "").split("/").filter(Boolean);
  try {
    return parts.map(decodeURIComponent);
  } catch {
    return [];
  }
};

export const link = (...parts) => `#/${parts.map(encodeURIComponent).join("/")}`;

export function go(...parts) {
  location.hash = link(...parts);
}

export function useRoute() {
  const [route, setRoute] = useState(read);
  useEffect(() => {
    const onChange = () => setRoute(read());
    addEventListener("hashchange", onChange);
    // It may have changed between the first drawing and now.
    if (read().join("/") !== route.join("/")) onChange();
    return () => removeEventListener("hashchange", onChange);
  }, []);
  return route;
}
