/**
 * Messages out of P-DATA-TF PDUs, PS3.8 section 9.3.5 and annex E.
 *
 * ```
 * P-DATA-TF = 04H 0(1) length(4) PDV*
 * PDV       = length(4) context id(1) control(1: bit 0 command, bit 1 last fragment) fragment
 * ```
 * A message is a command (all its fragments, then) and for some commands a data set. Fragments of a data set are never
 * put together: they are read one after another, as large as they happen to be.
 */
import { ConnectorError } from '../../model/errors.ts';
import { broken, controlPduBytesMax, dataPduBytesMax, pduTypes } from './pdu.ts';
import type { SocketReader } from './socket-reader.ts';

/** A C-STORE-RQ has about 200 bytes. */
const commandBytesMax = 16 * 1024;

export interface CommandMessage {
  readonly contextId: number;
  readonly bytes: Buffer;
}

interface Pdv {
  readonly contextId: number;
  readonly isCommand: boolean;
  readonly isLast: boolean;
  leftBytes: number;
}

type Ending = 'release' | 'abort';

export class MessageReader {
  readonly #reader: SocketReader;
  #pduLeftBytes = 0;

  constructor(reader: SocketReader) {
    this.#reader = reader;
  }

  /** The body of the first PDU, which must be an A-ASSOCIATE-RQ. @throws ConnectorError DICOM_PROTOCOL_BROKEN */
  async associateRequest(): Promise<Buffer> {
    const { type, byteCount } = await this.#pduHead();
    if (type !== pduTypes.request) throw broken('unexpected-pdu');
    return this.#reader.exact(byteCount);
  }

  /** The next command, or how the association ends. @throws ConnectorError DICOM_PROTOCOL_BROKEN */
  async next(): Promise<CommandMessage | Ending> {
    const fragments: Buffer[] = [];
    let byteCount = 0;
    this.release();
    for (;;) {
      const pdv = await this.nextPdv();
      if (pdv === 'release' || pdv === 'abort') return pdv;
      if (!pdv.isCommand) throw broken('unexpected-data');
      byteCount += pdv.leftBytes;
      if (byteCount > commandBytesMax) throw broken('bad-command');
      fragments.push(await this.#reader.exact(pdv.leftBytes));
      if (pdv.isLast) return { contextId: pdv.contextId, bytes: Buffer.concat(fragments) };
    }
  }

  /** The head of the next PDV; its fragment must be read before the next. */
  async nextPdv(): Promise<Pdv | Ending> {
    while (this.#pduLeftBytes === 0) {
      const { type, byteCount } = await this.#pduHead();
      if (type === pduTypes.data) this.#pduLeftBytes = byteCount;
      else return this.#ending(type, byteCount);
    }
    if (this.#pduLeftBytes < 6) throw broken('bad-pdv');
    const head = await this.#reader.exact(6);
    const leftBytes = head.readUInt32BE(0) - 2;
    this.#pduLeftBytes -= leftBytes + 6;
    if (leftBytes < 0 || this.#pduLeftBytes < 0) throw broken('bad-pdv');
    const control = head[5] ?? 0;
    return { contextId: head[4] ?? 0, isCommand: (control & 1) !== 0, isLast: (control & 2) !== 0, leftBytes };
  }

  some(byteCountMax: number): Promise<Buffer> {
    return this.#reader.some(byteCountMax);
  }

  /** What was read before, commands and data alike, is used no more. */
  release(): void {
    this.#reader.release();
  }

  async #pduHead(): Promise<{ type: number; byteCount: number }> {
    const head = await this.#reader.exact(6);
    const type = head[0] ?? 0;
    const byteCount = head.readUInt32BE(2);
    if (type < pduTypes.request || type > pduTypes.abort) throw broken('unknown-pdu');
    if (byteCount > (type === pduTypes.data ? dataPduBytesMax : controlPduBytesMax)) throw broken('pdu-too-long');
    return { type, byteCount };
  }

  async #ending(type: number, byteCount: number): Promise<Ending> {
    if (type !== pduTypes.releaseRequest && type !== pduTypes.abort) throw broken('unexpected-pdu');
    await this.#reader.exact(byteCount);
    return type === pduTypes.abort ? 'abort' : 'release';
  }
}

/** One data set as it arrives. Read once, by one reader at a time; whoever gives up leaves the rest to `drain`. */
export class DataSetReader {
  readonly #messages: MessageReader;
  readonly #contextId: number;
  #pdv: Pdv | undefined;
  #isBroken = false;

  constructor(messages: MessageReader, contextId: number) {
    this.#messages = messages;
    this.#contextId = contextId;
  }

  /** True when the association failed while it was read: there is nobody left to answer. */
  get isBroken(): boolean {
    return this.#isBroken;
  }

  /** The next bytes, or undefined after the last. @throws ConnectorError DICOM_PROTOCOL_BROKEN, DICOM_CUT_OFF, … */
  async read(): Promise<Buffer | undefined> {
    try {
      while (!this.#pdv || this.#pdv.leftBytes === 0) {
        if (this.#pdv?.isLast) return undefined;
        this.#pdv = await this.#nextFragment();
      }
      const bytes = await this.#messages.some(this.#pdv.leftBytes);
      this.#pdv.leftBytes -= bytes.length;
      return bytes;
    } catch (error) {
      this.#isBroken = true;
      throw error;
    }
  }

  /** The bytes read so far are used no more. */
  release(): void {
    this.#messages.release();
  }

  async #nextFragment(): Promise<Pdv> {
    const pdv = await this.#messages.nextPdv();
    if (pdv === 'release' || pdv === 'abort') throw new ConnectorError('DICOM_CUT_OFF', { how: pdv });
    if (pdv.isCommand || pdv.contextId !== this.#contextId) throw broken('unexpected-data');
    return pdv;
  }
}
