/** A PACS that answers C-ECHO, C-FIND and C-MOVE as a script says, right or wrong. */
import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import { portOf } from '../producer/port.ts';
import { Writer } from './dataset.ts';
import { command, data, elementOf, pdu, uid, uint16 } from './scu.ts';

export interface Asked {
  readonly service: 'echo' | 'find' | 'move';
  readonly level: string;
  /** Values by keyword: the few that are asked about here. */
  readonly keys: Readonly<Record<string, string>>;
}

/** What a script may say. Nothing is said by itself. */
export interface Line {
  pending(row: Readonly<Record<string, string>>, status?: number): void;
  final(status: number, counts?: { completed: number; failed: number }): void;
  abort(): void;
  close(): void;
}

export type Script = (asked: Asked, line: Line) => void;

const keywords: Readonly<Record<string, number>> = {
  StudyDate: 0x00080020,
  StudyTime: 0x00080030,
  QueryRetrieveLevel: 0x00080052,
  SOPInstanceUID: 0x00080018,
  PatientID: 0x00100020,
  IssuerOfPatientID: 0x00100021,
  StudyInstanceUID: 0x0020000d,
  SeriesInstanceUID: 0x0020000e,
  NumberOfStudyRelatedInstances: 0x00201208,
  NumberOfSeriesRelatedInstances: 0x00201209,
};

const services: Readonly<Record<number, Asked['service']>> = { 0x30: 'echo', 0x20: 'find', 0x21: 'move' };

export class ScriptedPacs {
  readonly asked: Asked[] = [];
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #script: Script;
  /** Called with each A-ASSOCIATE-RQ; false rejects it (calling AE title not recognized). */
  admits = true;

  private constructor(script: Script) {
    this.#script = script;
    this.#server = createServer({ noDelay: true }, (socket) => this.#serve(socket));
  }

  static async start(script: Script): Promise<ScriptedPacs> {
    const pacs = new ScriptedPacs(script);
    pacs.#server.listen(0, '127.0.0.1');
    await once(pacs.#server, 'listening');
    return pacs;
  }

  get port(): number {
    return portOf(this.#server);
  }

  /** Associations that are open. */
  get openCount(): number {
    return this.#sockets.size;
  }

  async close(): Promise<void> {
    const closed = once(this.#server, 'close');
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  #serve(socket: Socket): void {
    this.#sockets.add(socket);
    let received = Buffer.alloc(0);
    let pending: Buffer | undefined;
    socket.on('error', () => socket.destroy());
    socket.on('close', () => this.#sockets.delete(socket));
    socket.on('data', (chunk: Buffer) => {
      received = Buffer.concat([received, chunk]);
      while (received.length >= 6 && received.length >= 6 + received.readUInt32BE(2)) {
        const byteCount = 6 + received.readUInt32BE(2);
        const [type, body] = [received[0], received.subarray(6, byteCount)];
        received = received.subarray(byteCount);
        if (type === 1) this.#associate(socket, body);
        else if (type === 5) socket.write(pdu(6, Buffer.alloc(4)));
        else if (type === 4) pending = this.#data(socket, body, pending);
      }
    });
  }

  #associate(socket: Socket, body: Buffer): void {
    if (!this.admits) {
      socket.end(pdu(3, Buffer.from([0, 1, 1, 3])));
      return;
    }
    socket.write(acceptAll(body));
  }

  /** Returns the command whose data set is still to come. */
  #data(socket: Socket, body: Buffer, command: Buffer | undefined): Buffer | undefined {
    let pending = command;
    for (let at = 0; at < body.length; ) {
      const byteCount = body.readUInt32BE(at);
      const [contextId = 0, control = 0] = [body[at + 4], body[at + 5]];
      const fragment = body.subarray(at + 6, at + 4 + byteCount);
      at += 4 + byteCount;
      if (control & 1) {
        if (elementOf(fragment, 0x0800).readUInt16LE() !== 0x0101) pending = Buffer.from(fragment);
        else this.#ask(socket, contextId, fragment, Buffer.alloc(0));
      } else if (pending) {
        this.#ask(socket, contextId, pending, fragment);
        pending = undefined;
      }
    }
    return pending;
  }

  #ask(socket: Socket, contextId: number, request: Buffer, dataSet: Buffer): void {
    const field = elementOf(request, 0x0100).readUInt16LE();
    const keys = readKeys(dataSet);
    const asked = { service: services[field] ?? 'echo', level: keys['QueryRetrieveLevel'] ?? '', keys };
    this.asked.push(asked);
    this.#script(asked, new WireLine(socket, contextId, request, field));
  }
}

class WireLine implements Line {
  readonly #socket: Socket;
  readonly #contextId: number;
  readonly #request: Buffer;
  readonly #field: number;

  constructor(socket: Socket, contextId: number, request: Buffer, field: number) {
    this.#socket = socket;
    this.#contextId = contextId;
    this.#request = request;
    this.#field = field;
  }

  pending(row: Readonly<Record<string, string>>, status = 0xff00): void {
    this.#respond(status, {}, encodeKeys(row));
  }

  final(status: number, counts?: { completed: number; failed: number }): void {
    const elements = counts && { 0x1021: uint16(counts.completed), 0x1022: uint16(counts.failed), 0x1023: uint16(0) };
    this.#respond(status, elements ?? {}, undefined);
  }

  abort(): void {
    this.#socket.end(pdu(7, Buffer.alloc(4)));
  }

  close(): void {
    this.#socket.end();
  }

  #respond(status: number, more: Readonly<Record<number, Buffer>>, dataSet: Buffer | undefined): void {
    const response = command({
      0x0002: Buffer.from(elementOf(this.#request, 0x0002)),
      0x0100: uint16(this.#field | 0x8000),
      0x0120: Buffer.from(elementOf(this.#request, 0x0110)),
      0x0800: uint16(dataSet ? 0x0102 : 0x0101),
      0x0900: uint16(status),
      ...more,
    });
    this.#socket.write(data(this.#contextId, 3, response));
    if (dataSet) this.#socket.write(data(this.#contextId, 2, dataSet));
  }
}

/** Every context, with implicit little endian. */
function acceptAll(request: Buffer): Buffer {
  const parts: Buffer[] = [];
  for (let at = 68; at < request.length; at += 4 + request.readUInt16BE(at + 2)) {
    if (request[at] !== 0x20) continue;
    const syntax = Buffer.from('1.2.840.10008.1.2');
    const head = Buffer.from([0x21, 0, 0, syntax.length + 8, request[at + 4] ?? 0, 0, 0, 0, 0x40, 0, 0, syntax.length]);
    parts.push(Buffer.concat([head, syntax]));
  }
  const application = Buffer.concat([Buffer.from([0x10, 0, 0, 21]), Buffer.from('1.2.840.10008.3.1.1.1')]);
  const user = Buffer.from([0x50, 0, 0, 8, 0x51, 0, 0, 4, 0, 0, 0x40, 0]);
  return pdu(2, request.subarray(0, 68), application, ...parts, user);
}

function encodeKeys(row: Readonly<Record<string, string>>): Buffer {
  const writer = new Writer('implicit');
  const elements = Object.entries(row).map(([keyword, value]) => ({ tag: keywords[keyword] ?? 0, value }));
  const sorted = elements.toSorted((a, b) => a.tag - b.tag);
  return Buffer.concat(sorted.map(({ tag, value }) => writer.element(tag, 'LO', uidOrText(value))));
}

function uidOrText(value: string): Buffer {
  return /^[0-9.]+$/.test(value) && value.includes('.') ? uid(value) : Buffer.from(value, 'latin1');
}

function readKeys(dataSet: Buffer): Record<string, string> {
  const names = new Map(Object.entries(keywords).map(([keyword, tag]) => [tag, keyword]));
  const keys: Record<string, string> = {};
  for (let at = 0; at + 8 <= dataSet.length; ) {
    const tag = dataSet.readUInt16LE(at) * 0x10000 + dataSet.readUInt16LE(at + 2);
    const end = at + 8 + dataSet.readUInt32LE(at + 4);
    const name = names.get(tag);
    if (name) keys[name] = dataSet.toString('latin1', at + 8, end).replaceAll(/[\0 ]+$/g, '');
    at = end;
  }
  return keys;
}
