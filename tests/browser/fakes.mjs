// Answers of the API that a test puts in the place of the client's.

/** Answers `list_files` from `count` files that `make(index)` returns; the rest is the client's. */
export async function fakeFiles(page, count, make, limit = 500) {
  const asked = [];
  await page.route("**/api/v1/command", async (route) => {
    const words = route.request().postDataJSON();
    if (words.command !== "list_files") return route.continue();
    asked.push(words);
    const from = Number(words.after ?? 0);
    const end = Math.min(count, from + Math.min(words.limit ?? limit, limit));
    const entries = [];
    for (let index = from; index < end; index += 1) entries.push(make(index));
    const more = end < count;
    return route.fulfill({ json: {
      reply: "files", value: { entries, more, next: more ? String(end) : null },
    } });
  });
  return asked;
}

const hex = (number, length) => number.toString(16).padStart(length, "0");

export const file = (index, name) => ({
  group_id: hex(1, 32), file: name, file_id: hex(index, 64), size: 1000 + index,
  sha1: hex(index, 40), info_hash: hex(index, 40), piece_size: 524288, sharers: ["nik"],
  sharer_count: 1, online: 1, since_ms: 1.7e12 + index * 1000,
});
