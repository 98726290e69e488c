// A reverse proxy, as an operator puts in front of the page: everything below one path.
import { once } from "node:events";
import { createServer, request } from "node:http";

/** Forwards what is asked for below `base` to `target`, which is `host:port`. */
export async function startProxy(port, base, target) {
  const server = createServer((incoming, outgoing) => {
    if (!incoming.url.startsWith(`${base}/`)) {
      outgoing.writeHead(404).end();
      return;
    }
    const [host, to] = target.split(":");
    const { method, url: path, headers } = incoming;
    const asked = request({ host, port: to, method, path, headers }, (answer) => {
      outgoing.writeHead(answer.statusCode, answer.headers);
      answer.pipe(outgoing);
    });
    asked.on("error", () => outgoing.destroy());
    outgoing.on("close", () => asked.destroy());
    incoming.pipe(asked);
  });
  server.listen(port, "127.0.0.1");
  await once(server, "listening");
  return server;
}
