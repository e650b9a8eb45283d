/**
 * Reads the few elements that routing needs out of a data set while it passes, and never more than it must.
 *
 * It is tolerant, because it judges nothing: the bytes are kept as they came whatever it finds. It skips values it does
 * not want without holding them, goes through sequences of undefined length without recursion of the peer's choosing,
 * and stops before the pixel data, at the first thing that makes no sense, or after `scannedBytesMax`. How it stopped
 * is told, because a patient's number read from a header that then turned out to be nonsense must not be believed.
 *
 * Encodings: PS3.5 sections 7.1 and 7.5, annexes A.1 to A.3 and A.5 (deflated: only the first bytes are inflated).
 */
import { constants, inflateRawSync } from 'node:zlib';
import { deflatedExplicit, explicitBigEndian } from './uids.ts';

const KiB = 1024;
const MiB = 1024 * KiB;

/** Patient and study stand in the first kilobytes; a large sequence or private block may lie before them. */
const scannedBytesMax = 16 * MiB;

/** The longest wanted value: a name in three scripts with escapes is 600 bytes. What is longer is not read. */
const valueBytesMax = 4 * KiB;

/** Of a deflated data set; at deflate's best ratio of 1032 to 1 this becomes 33 MiB for a moment. */
const deflatedBytesMax = 32 * KiB;

/** Sequences within sequences; real ones have five. */
const depthMax = 32;

/** `GGGGEEEE` as a number. */
export const tags = {
  specificCharacterSet: 0x00080005,
  sopClassUid: 0x00080016,
  sopInstanceUid: 0x00080018,
  studyDate: 0x00080020,
  studyTime: 0x00080030,
  accessionNumber: 0x00080050,
  modality: 0x00080060,
  timezoneOffset: 0x00080201,
  patientName: 0x00100010,
  patientId: 0x00100020,
  issuerOfPatientId: 0x00100021,
  patientBirthDate: 0x00100030,
  patientSex: 0x00100040,
  patientAddress: 0x00101040,
  studyInstanceUid: 0x0020000d,
  seriesInstanceUid: 0x0020000e,
} as const;
export type TagName = keyof typeof tags;

const wanted: ReadonlySet<number> = new Set(Object.values(tags));
const pixelGroup = 0x7fe0;
const item = 0xfffee000;
const itemEnd = 0xfffee00d;
const sequenceEnd = 0xfffee0dd;
const undefinedLength = 0xffffffff;

export interface Header {
  /** Values as they stand in the data set, of the top level only. */
  readonly values: ReadonlyMap<number, Buffer>;
  /** Elements that were there twice with different values. */
  readonly contradictory: ReadonlySet<number>;
  /** True when group 0010 was read to its end, so that what it says of the patient is all it says. */
  readonly isPatientWhole: boolean;
}

/** What the parser needs next: so many bytes, or to be rid of so many. */
type Need = { readonly read: number } | { readonly skip: number };
type Parser = Generator<Need, void, Buffer>;

export class HeaderScanner {
  readonly #isDeflated: boolean;
  readonly #deflated: Buffer[] = [];
  #deflatedBytes = 0;
  readonly #parse: Parse;
  readonly #parser: Parser;
  /** Undefined once the parser wants nothing more. */
  #need: Need | undefined;
  #partial: Buffer[] = [];
  #partialBytes = 0;
  #scannedBytes = 0;

  constructor(transferSyntaxUid: string) {
    this.#isDeflated = transferSyntaxUid === deflatedExplicit;
    this.#parse = new Parse(transferSyntaxUid === explicitBigEndian);
    this.#parser = this.#parse.run();
    this.#answer(Buffer.alloc(0));
  }

  push(bytes: Buffer): void {
    if (!this.#isDeflated) return this.#feed(bytes);
    if (this.#deflatedBytes >= deflatedBytesMax) return;
    // A copy: the bytes are somebody's buffer and may be gone by the time they are inflated.
    this.#deflated.push(Buffer.from(bytes.subarray(0, deflatedBytesMax - this.#deflatedBytes)));
    this.#deflatedBytes += this.#deflated.at(-1)?.length ?? 0;
  }

  end(): Header {
    if (this.#isDeflated) this.#feed(inflate(Buffer.concat(this.#deflated)));
    const isBetweenElements = this.#need !== undefined && 'read' in this.#need && this.#partialBytes === 0;
    return this.#parse.header(isBetweenElements);
  }

  #feed(bytes: Buffer): void {
    for (let at = 0; at < bytes.length && this.#need; ) {
      const used =
        'skip' in this.#need ? this.#skip(this.#need.skip, bytes, at) : this.#read(this.#need.read, bytes, at);
      at += used;
      this.#scannedBytes += used;
      if (this.#scannedBytes > scannedBytesMax) this.#need = undefined;
    }
  }

  #skip(byteCount: number, bytes: Buffer, at: number): number {
    const used = Math.min(byteCount, bytes.length - at);
    if (used === byteCount) this.#answer(Buffer.alloc(0));
    else this.#need = { skip: byteCount - used };
    return used;
  }

  #read(byteCount: number, bytes: Buffer, at: number): number {
    const used = Math.min(byteCount - this.#partialBytes, bytes.length - at);
    this.#partial.push(Buffer.from(bytes.subarray(at, at + used)));
    this.#partialBytes += used;
    if (this.#partialBytes < byteCount) return used;
    const whole = this.#partial.length === 1 ? (this.#partial[0] as Buffer) : Buffer.concat(this.#partial);
    this.#partial = [];
    this.#partialBytes = 0;
    this.#answer(whole);
    return used;
  }

  /** Gives the parser what it asked for. A need of no bytes is met at once. */
  #answer(bytes: Buffer): void {
    let step = this.#parser.next(bytes);
    while (!step.done && ('skip' in step.value ? step.value.skip : step.value.read) === 0) {
      step = this.#parser.next(Buffer.alloc(0));
    }
    this.#need = step.done ? undefined : step.value;
  }
}

/** Of a stream cut off anywhere; nothing when it is no deflate stream at all. */
function inflate(bytes: Buffer): Buffer {
  try {
    return inflateRawSync(bytes, { finishFlush: constants.Z_SYNC_FLUSH });
  } catch (error) {
    // zlib tells of damaged data in no other way.
    if (error instanceof Error && 'code' in error && String(error.code).startsWith('Z_')) return Buffer.alloc(0);
    throw error;
  }
}

interface Element {
  readonly tag: number;
  readonly vr: string;
  readonly byteCount: number;
}

/** Explicit value representations, PS3.5 table 6.2-1; `true`: with a length of four bytes. */
const valueRepresentations: Readonly<Record<string, boolean>> = {
  ...Object.fromEntries(
    'AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US'.split(' ').map((vr) => [vr, false]),
  ),
  ...Object.fromEntries('OB OD OF OL OV OW SQ SV UC UN UR UT UV'.split(' ').map((vr) => [vr, true])),
};

class Parse {
  readonly #isBigEndian: boolean;
  readonly #values = new Map<number, Buffer>();
  readonly #contradictory = new Set<number>();
  #lastTag = 0;
  #isNonsense = false;
  #isAtPixels = false;

  constructor(isBigEndian: boolean) {
    this.#isBigEndian = isBigEndian;
  }

  header(isBetweenElements: boolean): Header {
    const endedWell = !this.#isNonsense && isBetweenElements;
    const isPatientWhole = this.#isAtPixels || endedWell || this.#lastTag >>> 16 > 0x0010;
    return { values: this.#values, contradictory: this.#contradictory, isPatientWhole };
  }

  /** The top level. Reads until pixel data, nonsense, or for as long as it is fed. */
  *run(): Parser {
    // Some archives write the other encoding than the one negotiated, so the first element decides: its length as
    // implicit would have to be over 16 KiB for it to look like an explicit one.
    let head: Buffer = yield { read: 8 };
    const isExplicit = this.#vrOf(head) !== undefined;
    for (;;) {
      const element = yield* this.#element(head, isExplicit);
      if (element.tag >>> 16 >= pixelGroup) {
        this.#isAtPixels = element.tag >>> 16 === pixelGroup;
        this.#isNonsense = element.tag >= item;
        return;
      }
      yield* this.#value(element, isExplicit);
      if (this.#isNonsense) return;
      this.#lastTag = Math.max(this.#lastTag, element.tag);
      head = yield { read: 8 };
    }
  }

  *#value(element: Element, isExplicit: boolean): Parser {
    const { tag, vr, byteCount } = element;
    if (byteCount === undefinedLength) {
      // UN of undefined length is a sequence in implicit VR, whatever surrounds it: PS3.5 section 6.2.2 note 2.
      yield* this.#sequence(isExplicit && vr !== 'UN', 1);
    } else if (wanted.has(tag) && byteCount <= valueBytesMax) {
      this.#keep(tag, yield { read: byteCount });
    } else {
      yield { skip: byteCount };
    }
  }

  #keep(tag: number, value: Buffer): void {
    const before = this.#values.get(tag);
    if (before && !before.equals(value)) this.#contradictory.add(tag);
    this.#values.set(tag, value);
  }

  /** Skips items until the sequence's delimiter. Encapsulated pixel data (of an icon) has the same form. */
  *#sequence(isExplicit: boolean, depth: number): Parser {
    if (depth > depthMax) this.#isNonsense = true;
    while (!this.#isNonsense) {
      const head: Buffer = yield { read: 8 };
      const tag = this.#tagOf(head);
      const byteCount = this.#uint32(head, 4);
      if (tag === sequenceEnd) return;
      if (tag !== item) this.#isNonsense = true;
      else if (byteCount === undefinedLength) yield* this.#item(isExplicit, depth);
      else yield { skip: byteCount };
    }
  }

  *#item(isExplicit: boolean, depth: number): Parser {
    while (!this.#isNonsense) {
      const head: Buffer = yield { read: 8 };
      const tag = this.#tagOf(head);
      if (tag === itemEnd) return;
      if (tag === item || tag === sequenceEnd) {
        this.#isNonsense = true;
        return;
      }
      const { vr, byteCount } = yield* this.#element(head, isExplicit);
      if (byteCount === undefinedLength) yield* this.#sequence(isExplicit && vr !== 'UN', depth + 1);
      else yield { skip: byteCount };
    }
  }

  /** An element whose first eight bytes are here. Without a VR that exists it is read as implicit. */
  *#element(head: Buffer, isExplicit: boolean): Generator<Need, Element, Buffer> {
    const tag = this.#tagOf(head);
    const vr = isExplicit && tag < item ? this.#vrOf(head) : undefined;
    if (vr === undefined) return { tag, vr: '', byteCount: this.#uint32(head, 4) };
    if (valueRepresentations[vr] !== true) return { tag, vr, byteCount: this.#uint16(head, 6) };
    const length: Buffer = yield { read: 4 };
    return { tag, vr, byteCount: this.#uint32(length, 0) };
  }

  #vrOf(head: Buffer): string | undefined {
    const vr = head.toString('latin1', 4, 6);
    return Object.hasOwn(valueRepresentations, vr) ? vr : undefined;
  }

  #tagOf(head: Buffer): number {
    return this.#uint16(head, 0) * 0x10000 + this.#uint16(head, 2);
  }

  #uint16(bytes: Buffer, at: number): number {
    return this.#isBigEndian ? bytes.readUInt16BE(at) : bytes.readUInt16LE(at);
  }

  #uint32(bytes: Buffer, at: number): number {
    return this.#isBigEndian ? bytes.readUInt32BE(at) : bytes.readUInt32LE(at);
  }
}
