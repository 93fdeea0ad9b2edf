// The official Socket.IO client, with its default transports, as a page would use it.
// Arguments: url, session token, options as JSON (eventId, ack: false, origin).
// Writes one JSON document a line for all that happens; reads {"emit": [event, …]}, {"leave": true} the same way.
import { createInterface } from "node:readline";
import { io } from "socket.io-client";

const [url, token, options = "{}"] = process.argv.slice(2);
const { eventId, ack = true, origin } = JSON.parse(options);
const tell = (event, data) => process.stdout.write(`${JSON.stringify({ event, ...data })}\n`);

const socket = io(url, {
  auth: eventId ? { token, eventId } : { token },
  extraHeaders: origin ? { origin } : undefined,
  reconnectionDelay: 200,
  reconnectionDelayMax: 500,
});
socket.io.on("open", () => {
  const { engine } = socket.io;
  tell("open", { transport: engine.transport.name });
  engine.once("upgrade", (transport) => tell("upgrade", { transport: transport.name }));
});
socket.on("connect", () => tell("connect", { id: socket.id }));
socket.on("connect_error", (error) => tell("connect_error", { message: error.message, active: socket.active }));
socket.on("disconnect", (reason) => tell("disconnect", { reason, active: socket.active }));
socket.onAny((name, payload, acknowledge) => {
  tell(name, { payload, wantsAck: typeof acknowledge === "function" });
  if (ack && typeof acknowledge === "function") acknowledge();
});

createInterface({ input: process.stdin })
  .on("line", (line) => {
    const order = JSON.parse(line);
    if (order.emit) socket.emit(...order.emit, (answer) => tell("answer", { payload: answer }));
    if (order.leave) socket.disconnect();
  })
  .on("close", () => {
    socket.disconnect();
    process.exit(0);
  });
