// Groups and files that the operator removes. The tracker lists neither to its operator.
import { show } from "../core/dialogs.js";
import { html, useState } from "../core/html.js";
import { fill } from "../core/names.js";
import { t } from "../core/texts.js";
import { ConfirmTyped } from "../parts/confirm.js";
import { Button, Field } from "../parts/controls.js";
import { Confirm } from "../parts/dialog.js";
import { Heading } from "../parts/heading.js";
import { Section } from "../parts/section.js";

export function Groups() {
  return html`<${Heading} title=${t.groups.title} /><p class="quiet">${t.groups.hint}</p>
    <div class="cards"><${RemoveFile} /><${DeleteGroup} /></div>`;
}

/** A form whose confirmation is a dialog. */
function Form({ isReady, onSubmit, verb, children }) {
  const submit = (event) => {
    event.preventDefault();
    if (isReady) onSubmit();
  };
  return html`<form onSubmit=${submit}>${children}
    <div class="buttons"><${Button} type="submit" kind="danger-plain" changes
      disabled=${!isReady}>${verb}<//></div></form>`;
}

function RemoveFile() {
  const [group, setGroup] = useState("");
  const [file, setFile] = useState("");
  const confirm = () => {
    const words = { group: group.trim(), file };
    show((close) => html`<${Confirm} title=${t.groups.removeTitle} words=${words}
      name="remove_file" verb=${t.groups.remove} done=${t.groups.removed}
      consequences=${t.groups.removeWhat.map((line) => fill(line, words))}
      onDone=${() => setFile("")} onClose=${close} />`);
  };
  return html`<${Section} name="removeFile">
    <${Form} isReady=${group.trim() && file} onSubmit=${confirm} verb=${t.groups.removeAsk}>
      <${Field} label=${t.groups.groupOfFile} value=${group} onInput=${setGroup} maxlength="80"
        autocomplete="off" />
      <${Field} label=${t.groups.file} hint=${t.groups.fileHint} value=${file}
        onInput=${setFile} maxlength="300" autocomplete="off" /><//><//>`;
}

function DeleteGroup() {
  const [group, setGroup] = useState("");
  const confirm = () => {
    const words = { group: group.trim() };
    show((close) => html`<${ConfirmTyped} title=${fill(t.groups.deleteTitle, words)}
      words=${words} typed=${words.group} name="delete_group" verb=${t.groups.delete}
      done=${t.groups.deleted} onDone=${() => setGroup("")} onClose=${close}
      consequences=${[...t.groups.deleteWhat.map((line) => fill(line, words)), t.cannotUndo]} />`);
  };
  return html`<${Section} name="deleteGroup">
    <${Form} isReady=${group.trim()} onSubmit=${confirm} verb=${t.groups.deleteAsk}>
      <${Field} label=${t.groups.group} hint=${t.groups.groupHint} value=${group}
        onInput=${setGroup} maxlength="80" autocomplete="off" /><//><//>`;
}
