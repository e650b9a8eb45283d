/**
 * A sender that says exactly the bytes it is given, right or wrong. DCMTK's storescu decodes and encodes what it sends,
 * so it can judge neither fidelity nor how nonsense is taken.
 */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import type { Instance } from './dataset.ts';
import { sopClasses, transferSyntaxes } from './dataset.ts';

export function pdu(type: number, ...parts: readonly Buffer[]): Buffer {
  const body = Buffer.concat(parts);
  const head = Buffer.alloc(6);
  head[0] = type;
  head.writeUInt32BE(body.length, 2);
  return Buffer.concat([head, body]);
}

function item(type: number, ...parts: readonly Buffer[]): Buffer {
  const value = Buffer.concat(parts);
  const head = Buffer.alloc(4);
  head[0] = type;
  head.writeUInt16BE(value.length, 2);
  return Buffer.concat([head, value]);
}

export interface ContextChoice {
  readonly id: number;
  readonly abstractSyntax: string;
  readonly transferSyntaxes: readonly string[];
}

export interface AssociateChoice {
  readonly contexts?: readonly ContextChoice[];
  readonly calledAe?: string;
  readonly callingAe?: string;
  readonly dataBytesMax?: number;
  /** Operations asked for in an asynchronous window. */
  readonly window?: number;
  readonly protocolVersion?: number;
  readonly applicationContext?: string;
}

export const usualContexts: readonly ContextChoice[] = [
  { id: 1, abstractSyntax: sopClasses.ct, transferSyntaxes: [transferSyntaxes.explicit] },
  { id: 3, abstractSyntax: sopClasses.verification, transferSyntaxes: [transferSyntaxes.implicit] },
];

export function associateRequest(choice: AssociateChoice = {}): Buffer {
  const { contexts = usualContexts, calledAe = 'KAKEHASHI', callingAe = 'MODALITY', window } = choice;
  const fixed = Buffer.alloc(68);
  fixed.writeUInt16BE(choice.protocolVersion ?? 1, 0);
  fixed.write(calledAe.padEnd(16), 4, 'latin1');
  fixed.write(callingAe.padEnd(16), 20, 'latin1');
  const text = (value: string) => Buffer.from(value, 'latin1');
  const operations = window === undefined ? [] : [item(0x53, uint16BE(window), uint16BE(window))];
  return pdu(
    1,
    fixed,
    item(0x10, text(choice.applicationContext ?? '1.2.840.10008.3.1.1.1')),
    ...contexts.map(({ id, abstractSyntax, transferSyntaxes }) =>
      item(
        0x20,
        Buffer.from([id, 0, 0, 0]),
        item(0x30, text(abstractSyntax)),
        ...transferSyntaxes.map((uid) => item(0x40, text(uid))),
      ),
    ),
    item(0x50, item(0x51, uint32BE(choice.dataBytesMax ?? 131_072)), item(0x52, text('2.25.7700')), ...operations),
  );
}

/** One PDV; `control`: 1 command, 2 last fragment, 3 both. */
export function pdv(contextId: number, control: number, fragment: Buffer): Buffer {
  return Buffer.concat([uint32BE(fragment.length + 2), Buffer.from([contextId, control]), fragment]);
}

export function data(contextId: number, control: number, fragment: Buffer): Buffer {
  return pdu(4, pdv(contextId, control, fragment));
}

export function command(elements: Readonly<Record<number, Buffer>>): Buffer {
  const encoded = Object.entries(elements).map(([number, value]) => {
    const head = Buffer.alloc(8);
    head.writeUInt16LE(Number(number), 2);
    head.writeUInt32LE(value.length, 4);
    return Buffer.concat([head, value]);
  });
  const body = Buffer.concat(encoded);
  const groupLength = Buffer.from([0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0]);
  groupLength.writeUInt32LE(body.length, 8);
  return Buffer.concat([groupLength, body]);
}

export const uint16 = (value: number) => Buffer.from([value & 0xff, value >> 8]);
export const uid = (text: string) => Buffer.from(text.length % 2 === 0 ? text : `${text}\0`, 'latin1');

export function storeRequest(
  { sopClassUid, sopInstanceUid }: Pick<Instance, 'sopClassUid' | 'sopInstanceUid'>,
  { messageId = 1, moveOriginator }: { messageId?: number; moveOriginator?: string } = {},
): Buffer {
  return command({
    0x0002: uid(sopClassUid),
    0x0100: uint16(0x0001),
    0x0110: uint16(messageId),
    0x0700: uint16(0),
    0x0800: uint16(0x0001),
    0x1000: uid(sopInstanceUid),
    ...(moveOriginator !== undefined && { 0x1030: Buffer.from(moveOriginator.padEnd(16)), 0x1031: uint16(7) }),
  });
}

export function echoRequest(messageId = 1): Buffer {
  return command({
    0x0002: uid(sopClasses.verification),
    0x0100: uint16(0x0030),
    0x0110: uint16(messageId),
    0x0800: uint16(0x0101),
  });
}

export interface Heard {
  readonly type: number;
  readonly body: Buffer;
}

/** Largest fragment a sender makes: ours announces 128 KiB a P-DATA-TF. */
const fragmentBytes = 131_072 - 6;

export class RawScu {
  readonly socket: Socket;
  #received = Buffer.alloc(0);
  #isClosed = false;
  #changed = Promise.withResolvers<void>();

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.on('data', (chunk: Buffer) => {
      this.#received = Buffer.concat([this.#received, chunk]);
      this.#announce();
    });
    // A reset is an end like any other here.
    socket.on('error', () => this.#announce());
    socket.on('close', () => {
      this.#isClosed = true;
      this.#announce();
    });
  }

  static async connect(port: number): Promise<RawScu> {
    const socket = connect({ port, host: '127.0.0.1', noDelay: true });
    const scu = new RawScu(socket);
    await once(socket, 'connect');
    return scu;
  }

  /** Connected and associated. */
  static async associate(port: number, choice: AssociateChoice = {}): Promise<RawScu> {
    const scu = await RawScu.connect(port);
    scu.say(associateRequest(choice));
    const answer = await scu.hear();
    if (answer?.type !== 2) throw new Error(`no association: PDU ${answer?.type}`);
    return scu;
  }

  say(...bytes: readonly Buffer[]): void {
    if (this.socket.writable) this.socket.write(Buffer.concat(bytes));
  }

  /** The next PDU, or undefined when there is none before the end. */
  async hear(): Promise<Heard | undefined> {
    for (;;) {
      const byteCount = this.#received.length >= 6 ? 6 + this.#received.readUInt32BE(2) : Number.POSITIVE_INFINITY;
      if (this.#received.length >= byteCount) {
        const whole = this.#received.subarray(0, byteCount);
        this.#received = this.#received.subarray(byteCount);
        return { type: whole[0] ?? 0, body: whole.subarray(6) };
      }
      if (this.#isClosed) return undefined;
      await this.#changed.promise;
    }
  }

  /** The status of the next response; what else was heard in words. */
  async status(): Promise<string> {
    const heard = await this.hear();
    if (!heard) return 'closed';
    return heard.type === 4 ? hex(elementOf(heard.body.subarray(6), 0x0900).readUInt16LE()) : `PDU ${heard.type}`;
  }

  /** C-STORE with the data set cut into fragments as large as allowed, or as told. */
  async store(
    stored: Instance,
    options: { contextId?: number; fragment?: number; messageId?: number; moveOriginator?: string } = {},
  ): Promise<string> {
    const { contextId = 1, fragment = fragmentBytes } = options;
    this.say(data(contextId, 3, storeRequest(stored, options)));
    for (let at = 0; at === 0 || at < stored.dataSet.length; at += fragment) {
      const isLast = at + fragment >= stored.dataSet.length;
      this.say(data(contextId, isLast ? 2 : 0, stored.dataSet.subarray(at, at + fragment)));
    }
    return this.status();
  }

  async echo(contextId = 3): Promise<string> {
    this.say(data(contextId, 3, echoRequest()));
    return this.status();
  }

  async release(): Promise<void> {
    this.say(pdu(5, Buffer.alloc(4)));
    await this.hear();
    this.socket.end();
    await this.closed();
  }

  async closed(): Promise<void> {
    while (!this.#isClosed) await this.#changed.promise;
  }

  destroy(): void {
    this.socket.destroy();
  }

  #announce(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }
}

/** Associates for one instance, sends it in fragments as large as told, releases. */
export async function send(
  port: number,
  sent: Instance,
  { fragment = fragmentBytes, ...choice }: AssociateChoice & { readonly fragment?: number } = {},
): Promise<string> {
  const { sopClassUid, transferSyntaxUid } = sent;
  const contexts = [{ id: 1, abstractSyntax: sopClassUid, transferSyntaxes: [transferSyntaxUid] }];
  const scu = await RawScu.associate(port, { contexts, ...choice });
  const status = await scu.store(sent, { fragment });
  await scu.release();
  return status;
}

export function elementOf(commandSet: Buffer, element: number): Buffer {
  for (let at = 0; at < commandSet.length; ) {
    const byteCount = commandSet.readUInt32LE(at + 4);
    if (commandSet.readUInt16LE(at + 2) === element) return commandSet.subarray(at + 8, at + 8 + byteCount);
    at += 8 + byteCount;
  }
  throw new Error(`no element ${hex(element)} in the command`);
}

function hex(value: number): string {
  return `0x${value.toString(16).toUpperCase().padStart(4, '0')}`;
}

function uint16BE(value: number): Buffer {
  return Buffer.from([value >> 8, value & 0xff]);
}

function uint32BE(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}
