// Begins downloads, and remembers the directory for them.
import { command } from "./api.js";
import { keep, kept } from "./storage.js";
import { t } from "./texts.js";
import { toast, toastError } from "./toasts.js";

export const destination = () => kept("destination");
export const setDestination = (path) => keep("destination", path || null);
export const dropDirectory = () => kept("drop_directory");
export const setDropDirectory = (path) => keep("drop_directory", path || null);

/** Begins a download. Throws what the client refuses. */
export async function begin(group, file, directory) {
  const words = { group, file, destination: directory };
  const download = await command("download_file", words);
  toast("status", t.downloads.begun, { file, path: download.path });
  return download;
}

/** Begins a download into the remembered directory. Returns it, or `null`. */
export async function beginAtDestination(group, file) {
  try {
    return await begin(group, file, destination());
  } catch (error) {
    toastError(error);
    return null;
  }
}
