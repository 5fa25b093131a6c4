// A name server of our own on loopback, which knows the TXT records that a journey sets; whatever else it is asked for does
// not exist. Datagrams only: nothing here is long.
import { createSocket } from 'node:dgram';

const TXT = 16;

/** The labels of the question, and where it ends. */
function question(message) {
  const labels = [];
  let at = 12;
  while (message[at] > 0) {
    labels.push(message.toString('latin1', at + 1, at + 1 + message[at]));
    at += 1 + message[at];
  }
  return { name: labels.join('.').toLowerCase(), type: message.readUInt16BE(at + 1), end: at + 5 };
}

function answer(message, records) {
  const { name, type, end } = question(message);
  const text = type === TXT ? records.get(name) : undefined;
  const head = Buffer.alloc(12);
  message.copy(head, 0, 0, 2);
  // An answer, recursion wanted and available; 3 says that there is no such name.
  head.writeUInt16BE(0x8180 | (records.has(name) ? 0 : 3), 2);
  head.writeUInt16BE(1, 4);
  head.writeUInt16BE(text === undefined ? 0 : 1, 6);
  const parts = [head, message.subarray(12, end)];
  if (text !== undefined) {
    const data = Buffer.from(text);
    // The question's name, TXT of the internet, a minute, one string.
    const record = Buffer.from([0xc0, 12, 0, TXT, 0, 1, 0, 0, 0, 60, 0, data.length + 1, data.length]);
    parts.push(record, data);
  }
  return Buffer.concat(parts);
}

export class Names {
  records = new Map();
  #socket = createSocket('udp4');

  async start(address) {
    const [host, port] = address.split(':');
    this.#socket.on('message', (message, from) => {
      this.#socket.send(answer(message, this.records), from.port, from.address);
    });
    await new Promise((resolve, reject) => this.#socket.once('error', reject).bind(Number(port), host, resolve));
  }

  stop() {
    this.#socket.close();
  }
}
