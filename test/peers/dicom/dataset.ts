/**
 * Synthetic instances, byte by byte: what no library would write is in them on purpose (private sequences of undefined
 * length, kanji whose bytes are `\` and `^`, values with odd blanks). Nobody in them exists.
 */
import { deflateRawSync } from 'node:zlib';

export const transferSyntaxes = {
  implicit: '1.2.840.10008.1.2',
  explicit: '1.2.840.10008.1.2.1',
  deflated: '1.2.840.10008.1.2.1.99',
  bigEndian: '1.2.840.10008.1.2.2',
  jpegBaseline: '1.2.840.10008.1.2.4.50',
  rle: '1.2.840.10008.1.2.5',
} as const;

export const sopClasses = {
  verification: '1.2.840.10008.1.1',
  ct: '1.2.840.10008.5.1.4.1.1.2',
  mr: '1.2.840.10008.5.1.4.1.1.4',
  cr: '1.2.840.10008.5.1.4.1.1.1',
  secondaryCapture: '1.2.840.10008.5.1.4.1.1.7',
  multiframe: '1.2.840.10008.5.1.4.1.1.7.2',
  report: '1.2.840.10008.5.1.4.1.1.88.11',
} as const;

export interface Instance {
  readonly sopClassUid: string;
  readonly sopInstanceUid: string;
  readonly transferSyntaxUid: string;
  readonly dataSet: Buffer;
}

type Encoding = 'explicit' | 'implicit' | 'bigEndian';

const longLengths = new Set(['OB', 'OD', 'OF', 'OL', 'OW', 'SQ', 'UC', 'UN', 'UR', 'UT']);

/** Elements of one encoding; a value of odd length is padded. */
export class Writer {
  readonly #encoding: Encoding;

  constructor(encoding: Encoding = 'explicit') {
    this.#encoding = encoding;
  }

  element(tag: number, vr: string, value: string | Buffer, { isUndefined = false } = {}): Buffer {
    const bytes = padded(typeof value === 'string' ? Buffer.from(value, 'latin1') : value, vr);
    const length = isUndefined ? 0xffffffff : bytes.length;
    if (this.#encoding === 'implicit') return Buffer.concat([this.#tag(tag), this.uint32(length), bytes]);
    const head = [this.#tag(tag), Buffer.from(vr, 'latin1')];
    if (longLengths.has(vr)) return Buffer.concat([...head, Buffer.alloc(2), this.uint32(length), bytes]);
    return Buffer.concat([...head, this.uint16(length), bytes]);
  }

  /** A sequence item; of undefined length with its delimiter. */
  item(content: Buffer, { isUndefined = false } = {}): Buffer {
    const start = Buffer.concat([this.#tag(0xfffee000), this.uint32(isUndefined ? 0xffffffff : content.length)]);
    const end = isUndefined ? Buffer.concat([this.#tag(0xfffee00d), this.uint32(0)]) : Buffer.alloc(0);
    return Buffer.concat([start, content, end]);
  }

  sequenceEnd(): Buffer {
    return Buffer.concat([this.#tag(0xfffee0dd), this.uint32(0)]);
  }

  uint16(value: number): Buffer {
    const bytes = Buffer.alloc(2);
    if (this.#encoding === 'bigEndian') bytes.writeUInt16BE(value);
    else bytes.writeUInt16LE(value);
    return bytes;
  }

  uint32(value: number): Buffer {
    const bytes = Buffer.alloc(4);
    if (this.#encoding === 'bigEndian') bytes.writeUInt32BE(value);
    else bytes.writeUInt32LE(value);
    return bytes;
  }

  #tag(tag: number): Buffer {
    return Buffer.concat([this.uint16(tag >>> 16), this.uint16(tag & 0xffff)]);
  }
}

function padded(bytes: Buffer, vr: string): Buffer {
  if (bytes.length % 2 === 0) return bytes;
  return Buffer.concat([bytes, Buffer.from(['UI', 'OB', 'UN'].includes(vr) ? [0] : [0x20])]);
}

const jis = (hexBytes: string) => Buffer.concat([Buffer.from('\x1b$B'), Buffer.from(hexBytes, 'hex')]);
const ascii = Buffer.from('\x1b(B');
const roman = Buffer.from('\x1b(J');
const join = (...parts: readonly (string | Buffer)[]) =>
  Buffer.concat(parts.map((part) => (typeof part === 'string' ? Buffer.from(part, 'latin1') : part)));

/** 架橋^太郎=かけはし^たろう in the ways Japanese equipment writes it, with its (0008,0005). */
export const names = {
  ascii: { characterSet: undefined, name: Buffer.from('Kakehashi^Tarou') },
  kanji: {
    characterSet: '\\ISO 2022 IR 87',
    name: join(
      'Kakehashi^Tarou=',
      jis('324d3636'),
      ascii,
      '^',
      jis('42404f3a'),
      ascii,
      '=',
      jis('242b2431244f2437'),
      ascii,
      '^',
      jis('243f246d2426'),
      ascii,
    ),
  },
  katakana: {
    characterSet: 'ISO 2022 IR 13\\ISO 2022 IR 87',
    name: join(
      Buffer.from('b6b9cabc5ec0dbb3', 'hex'),
      '=',
      jis('324d3636'),
      roman,
      '^',
      jis('42404f3a'),
      roman,
      '=',
      jis('242b2431244f2437'),
      roman,
      '^',
      jis('243f246d2426'),
      roman,
    ),
  },
  utf8: { characterSet: 'ISO_IR 192', name: Buffer.from('Kakehashi^Tarou=架橋^太郎=かけはし^たろう') },
} as const;

export interface InstanceChoice {
  readonly sopClass?: keyof typeof sopClasses;
  readonly modality?: string;
  readonly syntax?: keyof typeof transferSyntaxes;
  readonly name?: keyof typeof names;
  readonly patientId?: string;
  readonly issuer?: string;
  readonly study?: number;
  readonly series?: number;
  readonly number?: number;
  readonly studyDate?: string;
  readonly studyTime?: string;
  /** Rows and columns of 16 bit pixels. */
  readonly size?: number;
  readonly frames?: number;
  /** Without sequences and private elements, so that an archive that rewrites lengths leaves it as it is. */
  readonly isPlain?: boolean;
  /** Instead of the number's own. */
  readonly sopInstanceUid?: string;
  readonly accession?: string;
}

/** Of no hospital: below the root of UUIDs. */
export const studyUid = (study: number) => `2.25.7700.${study}`;
export const seriesUid = (study: number, series: number) => `2.25.7700.${study}.${series}`;
export const instanceUid = (study: number, series: number, number: number) => `2.25.7700.${study}.${series}.${number}`;

export function instance(choice: InstanceChoice = {}): Instance {
  const { sopClass = 'ct', syntax = 'explicit', study = 1, series = 1, number = 1 } = choice;
  const sopInstanceUid = choice.sopInstanceUid ?? instanceUid(study, series, number);
  const encoding = syntax === 'implicit' || syntax === 'bigEndian' ? syntax : 'explicit';
  const plain = Buffer.concat([
    header(new Writer(encoding), choice, sopInstanceUid),
    pixels(new Writer(encoding), choice),
  ]);
  const deflated = () => padded(deflateRawSync(plain), 'OB');
  return {
    sopClassUid: sopClasses[sopClass],
    sopInstanceUid,
    transferSyntaxUid: transferSyntaxes[syntax],
    dataSet: syntax === 'deflated' ? deflated() : plain,
  };
}

function header(writer: Writer, choice: InstanceChoice, sopInstanceUid: string): Buffer {
  const {
    sopClass = 'ct',
    modality = 'CT',
    patientId = '00012345',
    issuer,
    study = 1,
    series = 1,
    number = 1,
  } = choice;
  const { characterSet, name } = names[choice.name ?? 'kanji'];
  const e = (tag: number, vr: string, value: string | Buffer) => writer.element(tag, vr, value);
  return Buffer.concat([
    ...(characterSet === undefined ? [] : [e(0x00080005, 'CS', characterSet)]),
    e(0x00080016, 'UI', sopClasses[sopClass]),
    e(0x00080018, 'UI', sopInstanceUid),
    e(0x00080020, 'DA', choice.studyDate ?? '20261123'),
    e(0x00080030, 'TM', choice.studyTime ?? '101530.25'),
    e(0x00080050, 'SH', choice.accession ?? 'A0001'),
    e(0x00080060, 'CS', modality),
    ...(choice.isPlain ? [] : [nestedSequence(writer)]),
    e(0x00100010, 'PN', name),
    e(0x00100020, 'LO', patientId),
    ...(issuer === undefined ? [] : [e(0x00100021, 'LO', issuer)]),
    e(0x00100030, 'DA', '19480229'),
    e(0x00100040, 'CS', 'F'),
    e(0x0020000d, 'UI', studyUid(study)),
    e(0x0020000e, 'UI', seriesUid(study, series)),
    e(0x00200013, 'IS', `+0${number}`),
    ...(choice.isPlain ? [] : [privateElements(writer)]),
  ]);
}

/** Referenced images two deep, both of undefined length, with a patient id inside that is nobody's. */
function nestedSequence(writer: Writer): Buffer {
  const inner = writer.item(writer.element(0x00100020, 'LO', 'INNER'), { isUndefined: true });
  const sequence = writer.element(0x00081115, 'SQ', Buffer.concat([inner, writer.sequenceEnd()]), {
    isUndefined: true,
  });
  const outer = Buffer.concat([writer.item(sequence, { isUndefined: true }), writer.sequenceEnd()]);
  return writer.element(0x00081140, 'SQ', outer, { isUndefined: true });
}

/** A private block with a sequence sent as UN of undefined length, which is implicit inside whatever surrounds it. */
function privateElements(writer: Writer): Buffer {
  const implicit = new Writer('implicit');
  const inside = implicit.item(implicit.element(0x00291021, 'LO', 'vendor'), { isUndefined: true });
  return Buffer.concat([
    writer.element(0x00290010, 'LO', 'KAKEHASHI TEST 1.0'),
    writer.element(0x00291001, 'DS', ' 1.500 '),
    writer.element(0x00291020, 'UN', Buffer.concat([inside, implicit.sequenceEnd()]), { isUndefined: true }),
  ]);
}

function pixels(writer: Writer, { sopClass, syntax, size = 16, frames = 1 }: InstanceChoice): Buffer {
  if (sopClass === 'report') return Buffer.alloc(0);
  const isCompressed = syntax === 'jpegBaseline' || syntax === 'rle';
  const us = (tag: number, value: number) => writer.element(tag, 'US', writer.uint16(value));
  const bits = isCompressed ? 8 : 16;
  const description = [
    us(0x00280002, 1),
    writer.element(0x00280004, 'CS', 'MONOCHROME2'),
    ...(frames > 1 ? [writer.element(0x00280008, 'IS', String(frames))] : []),
    us(0x00280010, size),
    us(0x00280011, size),
    us(0x00280100, bits),
    us(0x00280101, bits),
    us(0x00280102, bits - 1),
    us(0x00280103, 0),
  ];
  return Buffer.concat([...description, isCompressed ? encapsulated(writer) : native(writer, size * size * frames)]);
}

function native(writer: Writer, pixelCount: number): Buffer {
  const bytes = Buffer.alloc(pixelCount * 2);
  for (let at = 0; at < bytes.length; at++) bytes[at] = (at * 31 + (at >> 8)) & 0xff;
  return writer.element(0x7fe00010, 'OW', bytes);
}

/** Three fragments behind an offset table that does not fit them, as some equipment writes it. */
function encapsulated(writer: Writer): Buffer {
  const frame = Buffer.concat([
    Buffer.from([0xff, 0xd8]),
    Buffer.from('not an image but never looked at'),
    Buffer.from([0xff, 0xd9]),
  ]);
  const table = Buffer.concat([writer.uint32(0), writer.uint32(28)]);
  const fragments = [table, frame, frame, frame].map((bytes) => writer.item(bytes));
  return writer.element(0x7fe00010, 'OB', Buffer.concat([...fragments, writer.sequenceEnd()]), { isUndefined: true });
}

/** As a file that DCMTK and Orthanc read: PS3.10. Written apart from the product's own header, on purpose. */
export function toFile({ sopClassUid, sopInstanceUid, transferSyntaxUid, dataSet }: Instance): Buffer {
  const writer = new Writer();
  const meta = Buffer.concat([
    writer.element(0x00020001, 'OB', Buffer.from([0, 1])),
    writer.element(0x00020002, 'UI', sopClassUid),
    writer.element(0x00020003, 'UI', sopInstanceUid),
    writer.element(0x00020010, 'UI', transferSyntaxUid),
    writer.element(0x00020012, 'UI', '2.25.7700'),
  ]);
  const groupLength = writer.element(0x00020000, 'UL', writer.uint32(meta.length));
  return Buffer.concat([Buffer.alloc(128), Buffer.from('DICM'), groupLength, meta, dataSet]);
}

/** The data set of a Part 10 file: all that follows group 0002. */
export function dataSetOf(file: Buffer): Buffer {
  const start = 128 + 4 + 12;
  return file.subarray(start + file.readUInt32LE(128 + 4 + 8));
}
