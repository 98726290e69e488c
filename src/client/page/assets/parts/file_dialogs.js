// The dialogs that download and share files.
import { useAction } from "../core/actions.js";
import { commandWithProgress } from "../core/api.js";
import { show } from "../core/dialogs.js";
import {
  begin, beginAtDestination, destination, dropDirectory, setDestination, setDropDirectory,
} from "../core/downloads.js";
import { addDrops } from "../core/drops.js";
import { percentText, size } from "../core/format.js";
import { html, useEffect, useRef, useState } from "../core/html.js";
import { Name, rich } from "../core/names.js";
import { change, state } from "../core/store.js";
import { t } from "../core/texts.js";
import { toast } from "../core/toasts.js";
import { Bar, Button, Check, FormError } from "./controls.js";
import { Dialog } from "./dialog.js";
import { Directories } from "./directories.js";

/** Downloads a file into the remembered directory, or asks for one. */
export function download(group, file) {
  if (destination()) return beginAtDestination(group, file);
  return askDestination(group, file);
}

/** Asks where to put a download. Resolves to the download, or `null`. */
export function askDestination(group, file) {
  return new Promise((resolve) => {
    show((close) => html`<${DestinationDialog} group=${group} file=${file}
      done=${(begun) => { close(); resolve(begun); }} />`);
  });
}

function DestinationDialog({ group, file, done }) {
  const [path, setPath] = useState(destination() ?? "");
  const [remember, setRemember] = useState(!destination());
  const { busy, error, run } = useAction();
  const submit = () => run(async () => {
    const begun = await begin(group, file, path);
    if (remember) setDestination(path);
    done(begun);
  });
  return html`<${Dialog} title=${t.downloads.where} onClose=${() => done(null)} onSubmit=${submit}
    actions=${html`<${Button} onClick=${() => done(null)}>${t.cancel}<//>
      <${Button} type="submit" kind="primary" changes busy=${busy} disabled=${busy || !path}>
        ${t.downloads.download}<//>`}>
    <p>${rich(t.downloads.whereFor, { file, group })}</p>
    <${Directories} path=${path} onPath=${setPath} label=${t.downloads.directory} />
    <${Check} label=${t.downloads.remember} checked=${remember} onChange=${setRemember} />
    <${FormError} error=${error} />
  <//>`;
}

/** Chooses a directory that is remembered. */
export function DirectoryDialog({ title, path, onPath, close }) {
  const [chosen, setChosen] = useState(path ?? "");
  const submit = () => {
    onPath(chosen);
    close();
  };
  return html`<${Dialog} title=${title} onClose=${close} onSubmit=${submit} actions=${html`
    <${Button} onClick=${close}>${t.cancel}<//>
    <${Button} type="submit" kind="primary" disabled=${!chosen}>${t.directories.choose}<//>`}>
    <${Directories} path=${chosen} onPath=${setChosen} label=${t.directories.path} />
  <//>`;
}

/** Shares a file of the client's machine. */
export function shareByPath(group) {
  show((close) => html`<${ShareDialog} group=${group} close=${close} />`);
}

function ShareDialog({ group, close }) {
  const [path, setPath] = useState("");
  const [progress, setProgress] = useState(null);
  const abort = useRef(null);
  const { busy, error, run } = useAction();
  useEffect(() => () => abort.current?.abort(), []);
  const submit = () => run(async () => {
    abort.current = new AbortController();
    setProgress(null);
    const { signal } = abort.current;
    const shared = await commandWithProgress("upload_file", { path, group }, setProgress, signal);
    change({ filesChanged: state.filesChanged + 1 });
    const text = shared.replaces_ms === null ? t.share.done : t.share.replaced;
    toast("status", text, { file: shared.file, group });
    close();
  });
  return html`<${Dialog} title=${t.share.title} onClose=${close} onSubmit=${submit} actions=${html`
    <${Button} onClick=${close}>${t.cancel}<//>
    <${Button} type="submit" kind="primary" changes busy=${busy} disabled=${busy || !path}>
      ${t.share.submit}<//>`}>
    <p>${rich(t.share.why, { group })}</p>
    <${Directories} path=${path} onPath=${setPath} files label=${t.share.path} />
    ${busy && html`<div class="progress-line" role="status">
      <p>${progress ? t.share.hashing(percentText(progress.done, progress.size),
        size(progress.size)) : t.share.opening}</p>
      ${progress && html`<${Bar} part=${progress.size ? progress.done / progress.size : 1}
        label=${t.share.hashingLabel} />`}</div>`}
    <${FormError} error=${error} />
  <//>`;
}

/** Sends files of this browser to the client, which stores and shares them. */
export function shareDropped(group, files) {
  if (files.length === 0) return;
  show((close) => html`<${DropDialog} group=${group} files=${files} close=${close} />`);
}

const SHOWN = 20;

function DropDialog({ group, files, close }) {
  const [path, setPath] = useState(dropDirectory() ?? destination() ?? "");
  const submit = () => {
    setDropDirectory(path);
    addDrops(files, group, path);
    close();
  };
  const total = files.reduce((sum, file) => sum + file.size, 0);
  return html`<${Dialog} title=${t.drops.title} onClose=${close} onSubmit=${submit} actions=${html`
    <${Button} onClick=${close}>${t.cancel}<//>
    <${Button} type="submit" kind="primary" changes disabled=${!path}>${t.drops.submit}<//>`}>
    <p>${rich(t.drops.why(files.length, size(total)), { group })}</p>
    <ul class="dropped">${files.slice(0, SHOWN).map((file) => html`
      <li><${Name} of=${file.name} cut /> <span class="quiet">${size(file.size)}</span></li>`)}
      ${files.length > SHOWN && html`<li>${t.drops.others(files.length - SHOWN)}</li>`}</ul>
    <${Directories} path=${path} onPath=${setPath} label=${t.drops.directory} />
  <//>`;
}
