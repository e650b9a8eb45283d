import { ConnectorError } from '../model/errors.ts';
import { parcelLimits } from './limits.ts';

/** Characters gathered before they become bytes. */
const pieceChars = 64 * 1024;

/** A text file of a parcel that grows line by line; kept as bytes outside the JavaScript heap. */
export class LineBlock {
  readonly name: string;
  readonly #pieces: Buffer[] = [];
  #pending = '';
  #bytes = 0;

  constructor(name: string) {
    this.name = name;
  }

  get bytes(): number {
    this.#pack();
    return this.#bytes;
  }

  /** @throws ConnectorError PARCEL_OVERFULL */
  add(line: string): void {
    this.#pending += line;
    if (this.#pending.length >= pieceChars) this.#pack();
  }

  pieces(): readonly Uint8Array[] {
    this.#pack();
    return this.#pieces;
  }

  #pack(): void {
    if (this.#pending === '') return;
    const piece = Buffer.from(this.#pending);
    this.#pending = '';
    this.#bytes += piece.length;
    this.#pieces.push(piece);
    const limit = parcelLimits.indexBytes;
    if (this.#bytes > limit) throw new ConnectorError('PARCEL_OVERFULL', { limit, unit: `bytes of ${this.name}` });
  }
}
