// Plays a file, shows it, or offers to save it. The file may still be downloading.
import { useLoaded } from "../core/actions.js";
import { contentUrl } from "../core/api.js";
import { show } from "../core/dialogs.js";
import { html, useState } from "../core/html.js";
import { Name } from "../core/names.js";
import { t } from "../core/texts.js";
import { Button, Status } from "./controls.js";
import { Dialog } from "./dialog.js";
import { Icon } from "./icons.js";

const KINDS = {
  video: /\.(mp4|m4v|webm|ogv|mov|mkv)$/i,
  audio: /\.(mp3|m4a|ogg|oga|opus|flac|wav|aac)$/i,
  image: /\.(png|jpe?g|gif|webp|avif|bmp)$/i,
};
const kindOf = (file) => Object.keys(KINDS).find((kind) => KINDS[kind].test(file));

export const canPlay = (file) => Boolean(kindOf(file));

/** Opens a file that this device shares or downloads. */
export function open(group, file) {
  show((close) => html`<${Player} group=${group} file=${file} close=${close} />`);
}

function Player({ group, file, close }) {
  const kind = kindOf(file);
  const { value: url, error, loading, reload } = useLoaded(() => contentUrl(group, file), []);
  const [failed, setFailed] = useState(false);
  const onError = () => setFailed(true);
  const again = () => {
    setFailed(false);
    reload();
  };
  return html`<${Dialog} wide title=${html`<${Name} of=${file} />`} onClose=${close} actions=${html`
    ${url && html`<a class="button plain" href=${url} download=${file}>
      <${Icon} name="download" />${t.player.save}</a>`}
    <${Button} onClick=${close}>${t.close}<//>`}>
    <${Status} loading=${loading} error=${error} onRetry=${again} />
    ${url && !failed && html`<div class="player">
      ${kind === "video" && html`<video src=${url} controls autoplay onError=${onError}></video>`}
      ${kind === "audio" && html`<audio src=${url} controls autoplay onError=${onError}></audio>`}
      ${kind === "image" && html`<img src=${url} alt=${t.player.image} onError=${onError} />`}
      ${!kind && html`<p>${t.player.unknown}</p>`}
    </div>`}
    ${failed && html`<div class="notice bad" role="alert"><${Icon} name="warning" />
      <p>${t.player.failed}</p><${Button} onClick=${again}>${t.retry}<//></div>`}
  <//>`;
}
