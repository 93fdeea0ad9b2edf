// Stock kafkajs, as an existing service uses it.
// read <bootstrap> <topic> <text>          writes each record that contains the text, as JSON, from the beginning on
// send <bootstrap> <topic> <key> <value>   sends one record and ends
import { randomUUID } from "node:crypto";
import { Kafka, logLevel } from "kafkajs";

const [what, bootstrap, topic, ...rest] = process.argv.slice(2);
const kafka = new Kafka({ clientId: "shop", brokers: bootstrap.split(","), logLevel: logLevel.ERROR });

async function read(text) {
  const consumer = kafka.consumer({ groupId: `shop-${randomUUID()}` });
  await consumer.connect();
  await consumer.subscribe({ topic, fromBeginning: true });
  await consumer.run({
    eachMessage: async ({ partition, message }) => {
      const value = message.value?.toString() ?? "";
      if (!value.includes(text)) return;
      const headers = Object.fromEntries(Object.entries(message.headers).map(([k, v]) => [k, v.toString()]));
      const record = { partition, offset: message.offset, key: message.key?.toString(), value, headers };
      process.stdout.write(`${JSON.stringify(record)}\n`);
    },
  });
  process.stdin.resume().on("end", () => consumer.disconnect().then(() => process.exit(0)));
}

async function send(key, value) {
  const producer = kafka.producer({ idempotent: true });
  await producer.connect();
  await producer.send({ topic, messages: [{ key, value }] });
  await producer.disconnect();
}

await (what === "read" ? read(...rest) : send(...rest));
