/**
 * Senders of HL7 messages that do as little as possible themselves: one template, another control id each time, and
 * answers that are counted by their end byte. What is measured is the receiver.
 */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { systemClock } from '../../agent/base/clock.ts';
import { hl7, person } from '../peers/hospital/messages.ts';
import { block } from '../peers/mllp/parrot.ts';

export const patientId = '0000012345';

/** Of `EB CR`, the end of a block; no other byte of an answer is one (MLLP release 1). */
const endByte = 0x1c;

/** Ten digits: a sender never begins again at the same number. */
export const idPlace = '0000000000';

/** A lab result of about this many bytes, in a block. */
export function template(bytes: number): Buffer {
  const result = `OBX|9|TX|12345-6^TEST^LN||${'abcdefghij'.repeat(8)}||||||F`;
  const rest = bytes - lab([]).length;
  return lab(Array.from({ length: Math.max(0, Math.round(rest / (result.length + 1))) }, () => result));
}

/** One result that holds a document of about this many bytes, in a block. */
export function documentTemplate(bytes: number): Buffer {
  return Buffer.from(
    block(hl7({ controlId: idPlace, person: person(patientId), reportChars: Math.round(bytes / 4) * 4 }).bytes),
  );
}

function lab(segments: readonly string[]): Buffer {
  return Buffer.from(block(hl7({ controlId: idPlace, person: person(patientId), segments }).bytes));
}

export interface LoadOptions {
  readonly port: number;
  readonly senders: number;
  /** Messages a sender has under way before it waits for an answer. */
  readonly inFlight: number;
  readonly template: Buffer;
}

/** Connections that send until they are closed. */
export class MllpLoad {
  readonly #senders: readonly Sender[];

  private constructor(senders: readonly Sender[]) {
    this.#senders = senders;
  }

  static async start({ port, senders, inFlight, template }: LoadOptions): Promise<MllpLoad> {
    const ids = new ControlIds();
    const all = Array.from({ length: senders }, () => Sender.connect(port, { template, ids }));
    const load = new MllpLoad(await Promise.all(all));
    for (const sender of load.#senders) sender.send(inFlight);
    return load;
  }

  /** Answers heard so far. */
  get answered(): number {
    return this.#senders.reduce((sum, { answered }) => sum + answered, 0);
  }

  /** @throws when a sender was refused or cut off */
  async run(durationMs: number): Promise<{ readonly messages: number; readonly seconds: number }> {
    const before = this.answered;
    const startedAt = performance.now();
    await systemClock.sleep(durationMs);
    const seconds = (performance.now() - startedAt) / 1000;
    for (const sender of this.#senders) sender.expectWell();
    return { messages: this.answered - before, seconds };
  }

  async close(): Promise<void> {
    await Promise.all(this.#senders.map((sender) => sender.close()));
  }
}

export class ControlIds {
  #last = 0;

  next(): string {
    return String(++this.#last).padStart(idPlace.length, '0');
  }
}

interface Mail {
  readonly template: Buffer;
  readonly ids: ControlIds;
}

class Sender {
  readonly #socket: Socket;
  readonly #mail: Mail;
  readonly #idAt: number;
  #complaint: string | undefined;
  #isClosing = false;
  answered = 0;

  private constructor(socket: Socket, mail: Mail) {
    this.#socket = socket;
    this.#mail = mail;
    this.#idAt = mail.template.indexOf(idPlace);
    socket.on('data', (chunk: Buffer) => this.#hear(chunk));
    socket.on('error', (error) => this.#complain(error.message));
    socket.on('close', () => this.#complain('the receiver closed the connection'));
  }

  static async connect(port: number, mail: Mail): Promise<Sender> {
    const socket = connect({ port, host: '127.0.0.1', noDelay: true });
    await once(socket, 'connect');
    return new Sender(socket, mail);
  }

  send(count: number): void {
    if (this.#isClosing) return;
    for (let sent = 0; sent < count; sent++) {
      const message = Buffer.from(this.#mail.template);
      message.write(this.#mail.ids.next(), this.#idAt, 'latin1');
      this.#socket.write(message);
    }
  }

  /** @throws when something went wrong since it connected */
  expectWell(): void {
    if (this.#complaint !== undefined) throw new Error(`a sender was not served: ${this.#complaint}`);
  }

  async close(): Promise<void> {
    this.#isClosing = true;
    if (this.#socket.destroyed) return;
    this.#socket.destroy();
    await once(this.#socket, 'close');
  }

  #hear(chunk: Buffer): void {
    if (/MSA\|[AC][ER]\|/.test(chunk.toString('latin1'))) this.#complain('a message was refused');
    let ends = 0;
    for (let at = chunk.indexOf(endByte); at >= 0; at = chunk.indexOf(endByte, at + 1)) ends++;
    this.answered += ends;
    this.send(ends);
  }

  #complain(text: string): void {
    if (!this.#isClosing) this.#complaint ??= text;
  }
}
