// The files of a group.
import { count } from "../core/format.js";
import { html, useEffect, useRef, useState } from "../core/html.js";
import { useSettled, useSoonAfter } from "../core/settled.js";
import { useChanges, useStore } from "../core/store.js";
import { t } from "../core/texts.js";
import { Pages } from "../core/pages.js";
import { Button, Choice, Search } from "../parts/controls.js";
import { Drops } from "../parts/drops.js";
import { FileList, filesOf } from "../parts/files.js";
import { shareByPath, shareDropped } from "../parts/file_dialogs.js";
import { usePages, usePhone } from "../parts/list.js";

const ORDERS = ["name", "size", "date"];
/** How often the list is read again, before an event has told of a change and after it. */
const REFRESH_EVERY = [20000, 120000];

export function Files({ group }) {
  const name = group.group;
  const [search, setSearch] = useState("");
  const [order, setOrder] = useState("name");
  const pattern = useSettled(search.trim()) || null;
  const filesChanged = useStore((state) => state.filesChanged);
  const changes = useChanges("files", group.group_id);
  const isPhone = usePhone();
  const picker = useRef(null);
  const pages = usePages((render) => new Pages(filesOf(name, pattern, order), render),
    [name, pattern, order]);
  useEffect(() => {
    if (filesChanged) pages.refresh();
  }, [filesChanged]);
  // No event tells how many are online, and trackers of earlier versions tell of no change.
  const every = REFRESH_EVERY[changes ? 1 : 0];
  useEffect(() => {
    const timer = setInterval(() => document.hidden || pages.refresh(), every);
    return () => clearInterval(timer);
  }, [pages, every]);
  useSoonAfter(changes, () => pages.refresh());
  const picked = (event) => {
    shareDropped(name, [...event.target.files]);
    event.target.value = "";
  };
  return html`<${Drops} group=${name} />
    <div class="toolbar">
      <${Search} label=${t.files.search} value=${search} onInput=${setSearch} />
      ${isPhone && html`<${Choice} label=${t.files.order} value=${order} onChange=${setOrder}
        options=${ORDERS.map((key) => [key, t.files.orders[key]])} />`}
      <p class="count" role="status">${t.files.count(count(pages.count), pages.count,
        pages.isWhole)}</p>
      <div class="buttons">
        <${Button} icon="reload" kind="ghost" label=${t.files.reload}
          onClick=${() => pages.refresh()} />
        <${Button} icon="folder" changes onClick=${() => shareByPath(name)}>${t.share.open}<//>
        <${Button} icon="upload" kind="primary" changes onClick=${() => picker.current.click()}>
          ${t.drops.open}<//>
        <input type="file" multiple hidden ref=${picker} onChange=${picked} tabindex="-1"
          aria-label=${t.drops.open} />
      </div>
    </div>
    <${FileList} label=${t.files.title} pages=${pages} group=${group} order=${order}
      onOrder=${setOrder} empty=${pattern ? t.files.noneLike : t.files.none} />
    <p class="hint center">${t.drops.hint}</p>`;
}
