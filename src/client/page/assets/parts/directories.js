// A browser of the directories of the client's machine that the user allows.
import { useLoaded } from "../core/actions.js";
import { directory } from "../core/api.js";
import { size, when } from "../core/format.js";
import { html, useEffect, useRef, useState } from "../core/html.js";
import { Name } from "../core/names.js";
import { t } from "../core/texts.js";
import { Button, Field, Status } from "./controls.js";
import { Icon } from "./icons.js";

/**
 * Chooses a directory, or with `files` a file in one. `path` is the choice so far; `onPath` gets
 * every other.
 */
export function Directories({ path, onPath, files = false, label }) {
  const [at, setAt] = useState(files ? "" : path);
  const isFirst = useRef(true);
  const { value, error, loading, reload } = useLoaded(() => directory(at ?? ""), [at]);
  // Without a choice so far, the directory that the client begins with is the choice.
  useEffect(() => {
    if (isFirst.current && value?.path && !path && !files) onPath(value.path);
    if (value) isFirst.current = false;
  }, [value]);
  const enter = (next) => {
    setAt(next);
    onPath(files ? "" : next);
  };
  const listed = (value?.entries ?? []).filter((entry) => files || entry.is_directory);
  const open = (entry) =>
    (entry.is_directory ? enter(join(entry.name)) : onPath(join(entry.name)));
  const join = (name) => `${(value.path ?? "").replace(/\/$/, "")}/${name}`;
  return html`<div class="directories">
    <div class="with-button">
      <${Field} label=${label} value=${path} onInput=${onPath} autocomplete="off" dir="ltr"
        onKeyDown=${(event) => {
          if (event.key !== "Enter" || files) return;
          event.preventDefault();
          setAt(path);
        }} />
      ${!files && html`<${Button} onClick=${() => setAt(path)}>${t.directories.go}<//>`}
    </div>
    <div class="roots" role="group" aria-label=${t.directories.roots}>
      <${Button} icon="up" disabled=${!value?.parent} onClick=${() => enter(value.parent)}>
        ${t.directories.up}<//>
      ${(value?.roots ?? []).map((root) => html`<${Button} key=${root} kind="plain small"
        icon="folder" onClick=${() => enter(root)}><${Name} of=${root} cut /><//>`)}
    </div>
    ${value?.path && html`<p class="hint" role="status">${t.directories.at}${" "}
      <${Name} of=${value.path} /></p>`}
    <ul class="entries" aria-label=${t.directories.entries} aria-busy=${loading}>
      ${listed.map((entry) => html`<li key=${entry.name}><${Entry} entry=${entry}
        chosen=${files && path === join(entry.name)} onClick=${() => open(entry)} />
      </li>`)}
      ${value && listed.length === 0 && html`<li class="quiet">${files ? t.directories.empty
        : t.directories.noDirectories}</li>`}
    </ul>
    ${value?.more && html`<p class="hint">${t.directories.more}</p>`}
    <${Status} loading=${loading && !value} error=${error} onRetry=${reload} />
  </div>`;
}

function Entry({ entry, chosen, onClick }) {
  return html`<button type="button" class="entry" aria-pressed=${entry.is_directory ? undefined
    : chosen ? "true" : "false"} onClick=${onClick}>
    <${Icon} name=${entry.is_directory ? "folder" : "file"} />
    <span class="hidden">${entry.is_directory ? t.directories.directory : t.directories.file}
    </span>
    <${Name} of=${entry.name} cut />
    ${!entry.is_directory && html`<span class="entry-facts">${size(entry.size)}
      ${entry.modified_ms ? ` · ${when(entry.modified_ms)}` : ""}</span>`}</button>`;
}
