/**
 * Makes the parcel vectors: `node test/vectors/parcel/make.ts`. Contents are fixed and invented; what is sealed has a
 * fresh key each time, so the files differ from run to run and the committed ones are the vectors. The keys beside
 * them are made once and kept.
 */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { zstdCompressSync } from 'node:zlib';
import { generateX25519Identity, identityToRecipient } from 'age-encryption';
import { newSigningKey, type SigningKey, signingKeyFromSeed, signJws } from '../../../agent/base/jws.ts';
import type { ErrorCode } from '../../../agent/model/errors.ts';
import type { Lane } from '../../../agent/model/record.ts';
import { jwsTypes, type ParcelStatement } from '../../../agent/model/wire.ts';
import { AgeWriter } from '../../../agent/parcel/age-writer.ts';
import {
  digestLine,
  digestsName,
  laneSuffix,
  parcelJson,
  parcelName,
  type RecordLine,
  recordLine,
  recordsName,
  subjectLine,
  subjectsName,
} from '../../../agent/parcel/manifest.ts';
import { tarEnd, tarHeader, tarPadding } from '../../../agent/parcel/tar.ts';

/** One line of index.json. */
interface Vector {
  readonly file: string;
  /** Beside it; verified with `signing-jwks.json` and compared, where there is one. */
  readonly statement?: string;
  readonly identity: 'online.key' | 'recovery.key' | 'stranger.key';
  readonly expect: 'opened' | ErrorCode;
  readonly why: string;
}

interface Entry {
  readonly name: string;
  readonly bytes: Buffer;
  /** The tar type flag, `0` (a regular file) unless told. */
  readonly type?: string;
}

interface Contents {
  readonly lane: Lane;
  readonly entries: readonly Entry[];
}

type Edit = (entries: readonly Entry[]) => readonly Entry[];

interface Recipe {
  readonly name: string;
  readonly why: string;
  readonly expect: Vector['expect'];
  readonly of?: Contents;
  readonly identity?: Vector['identity'];
  /** Changes the entries before they become a tar. */
  readonly entries?: Edit;
  /** Changes the tar, or what the tar was compressed to, before it is sealed. */
  readonly tar?: (tar: Buffer) => Buffer;
  readonly compressed?: (bytes: Buffer) => Buffer;
  /** Changes the sealed file. */
  readonly sealed?: (bytes: Buffer) => Buffer;
  /** The statement beside the file, made from the right one. */
  readonly statement?: (right: ParcelStatement, key: SigningKey) => string;
}

const here = import.meta.dirname;
const recordIds = ['00', '11', '22', '33'].map((byte) => byte.repeat(16));

/** What parcel.json says beyond the statement. */
const rest = { completeThrough: { 'ehr-feed': '2026-11-23T21:59:00+09:00' }, software: 'kakehashi/0.1.0' };

const message =
  'MSH|^~\\&|HIS|1312345670|KAKEHASHI||20261123101530||ADT^A08|0001|P|2.5\r' +
  'PID|1||0000012345^^^1312345670||架橋^太郎^^^^^L^I~カケハシ^タロウ^^^^^L^P||19700101|M\r';
/** The same, as the hospital's code page has it: 架橋 in Shift_JIS. */
const shiftJis = Buffer.concat([Buffer.from('PID|1||0000012345||'), Buffer.from('89cb8bb4', 'hex'), Buffer.from('\r')]);

const text = contents('text', [Buffer.from(message), shiftJis, Buffer.alloc(0)]);
const image = contents('image', [noise(2000), noise(300)], part10());
/** More than one chunk of 64 KiB. */
const long = contents('image', [noise(70_000)]);
const empty = contents('text', []);

const sign = (statement: object, key: SigningKey) => signJws(key, jwsTypes.parcel, statement);
const right = { statement: sign } satisfies Partial<Recipe>;

/** What the committed vectors were made by. */
export const recipes: readonly Recipe[] = [
  { name: 'text', why: 'HL7 in UTF-8 and Shift_JIS, and a payload of no bytes', expect: 'opened', ...right },
  { name: 'image', why: 'payloads behind a prefix', expect: 'opened', of: image, ...right },
  { name: 'recovery', why: 'the second recipient opens it too', expect: 'opened', identity: 'recovery.key', ...right },
  { name: 'unsigned', why: 'no statement is at hand', expect: 'opened' },
  { name: 'long', why: 'two chunks', expect: 'opened', of: long, ...right },
  { name: 'empty', why: 'no record at all', expect: 'opened', of: empty, ...right },
  {
    name: 'newer',
    why: 'fields this version does not know are ignored',
    expect: 'opened',
    entries: relisted((entries) => edit(entries, recordsName, (lines) => lines.replaceAll('{"', '{"later":1,"'))),
  },
  { name: 'stranger', why: 'not encrypted to this identity', expect: 'PARCEL_NOT_FOR_US', identity: 'stranger.key' },
  {
    name: 'cut-at-chunk',
    why: 'cut exactly behind the first chunk of two',
    expect: 'PARCEL_DAMAGED',
    of: long,
    sealed: (bytes) => bytes.subarray(0, headerBytes(bytes) + 16 + 65_552),
  },
  { name: 'cut-in-chunk', why: 'the last byte is missing', expect: 'PARCEL_DAMAGED', sealed: (b) => b.subarray(0, -1) },
  { name: 'cut-in-header', why: 'half a header', expect: 'PARCEL_NOT_AGE', sealed: (b) => b.subarray(0, 100) },
  {
    name: 'no-payload',
    why: 'nothing behind the header and the nonce',
    expect: 'PARCEL_DAMAGED',
    sealed: (b) => b.subarray(0, headerBytes(b) + 16),
  },
  { name: 'flip-header', why: 'one bit of the MAC', expect: 'PARCEL_NOT_AGE', sealed: (b) => flip(b, headerBytes(b) - 20) },
  { name: 'flip-payload', why: 'one bit of a chunk', expect: 'PARCEL_DAMAGED', sealed: (b) => flip(b, headerBytes(b) + 20) },
  {
    name: 'flip-last-chunk',
    why: 'one bit of the last tag',
    expect: 'PARCEL_DAMAGED',
    of: long,
    sealed: (bytes) => flip(bytes, bytes.length - 1),
  },
  {
    name: 'trailing',
    why: 'bytes behind the last chunk',
    expect: 'PARCEL_DAMAGED',
    sealed: (bytes) => Buffer.concat([bytes, Buffer.from('garbage')]),
  },
  {
    name: 'zstd-broken',
    why: 'one byte of the compressed tar was altered before sealing',
    expect: 'PARCEL_COMPRESSION_INVALID',
    compressed: (bytes) => flip(bytes, 4),
  },
  {
    name: 'zstd-cut',
    why: 'the compressed tar ends early',
    expect: 'PARCEL_COMPRESSION_INVALID',
    compressed: (bytes) => bytes.subarray(0, -4),
  },
  {
    name: 'zstd-trailing',
    why: 'something stands behind the zstd frame',
    expect: 'PARCEL_COMPRESSION_INVALID',
    compressed: (bytes) => Buffer.concat([bytes, Buffer.from('garbage')]),
  },
  {
    name: 'tar-trailing',
    why: 'something stands behind the end of the tar',
    expect: 'PARCEL_TAR_INVALID',
    of: image,
    tar: (tar) => Buffer.concat([tar, Buffer.alloc(512, 'garbage ')]),
  },
  {
    name: 'tar-cut',
    why: 'the tar ends within an entry',
    expect: 'PARCEL_TAR_INVALID',
    of: image,
    tar: (tar) => tar.subarray(0, 1000),
  },
  {
    name: 'tar-no-parcel-json',
    why: 'the last entry is missing',
    expect: 'PARCEL_TAR_INVALID',
    entries: (entries) => entries.slice(0, -1),
  },
  {
    name: 'traversal',
    why: 'an entry would be written outside the folder',
    expect: 'PARCEL_ENTRY_REFUSED',
    entries: (entries) => [{ name: '../outside', bytes: Buffer.from('x') }, ...entries],
  },
  {
    name: 'absolute',
    why: 'an entry has an absolute name',
    expect: 'PARCEL_ENTRY_REFUSED',
    entries: (entries) => [{ name: '/tmp/outside', bytes: Buffer.from('x') }, ...entries],
  },
  {
    name: 'symlink',
    why: 'an entry is a symbolic link',
    expect: 'PARCEL_ENTRY_REFUSED',
    entries: (entries) => [{ name: 'ff'.repeat(16), bytes: Buffer.alloc(0), type: '2' }, ...entries],
  },
  {
    name: 'hard-link',
    why: 'an entry is a hard link',
    expect: 'PARCEL_ENTRY_REFUSED',
    entries: (entries) => [{ name: 'ff'.repeat(16), bytes: Buffer.alloc(0), type: '1' }, ...entries],
  },
  {
    name: 'duplicate',
    why: 'two entries have one name',
    expect: 'PARCEL_ENTRY_REFUSED',
    entries: (entries) => [...entries.slice(0, 1), ...entries],
  },
  {
    name: 'late-entry',
    why: 'a payload stands behind the trailer',
    expect: 'PARCEL_ENTRY_REFUSED',
    entries: (entries) => [...entries, { name: 'ff'.repeat(16), bytes: Buffer.from('x') }],
  },
  {
    name: 'digest-mismatch',
    why: 'an entry is not what manifest-sha256.txt says',
    expect: 'PARCEL_MANIFEST_MISMATCH',
    entries: (entries) => edit(entries, recordIds[0] ?? '', (content) => content.replace('19700101', '19700102')),
  },
  {
    name: 'unlisted',
    why: 'an entry is missing from manifest-sha256.txt',
    expect: 'PARCEL_MANIFEST_MISMATCH',
    entries: (entries) => edit(entries, digestsName, (lines) => lines.slice(lines.indexOf('\n') + 1)),
  },
  {
    name: 'listed-missing',
    why: 'manifest-sha256.txt names an entry that is not there',
    expect: 'PARCEL_MANIFEST_MISMATCH',
    entries: (entries) => entries.slice(1),
  },
  {
    name: 'extra-entry',
    why: 'an entry of which records.ndjson knows nothing',
    expect: 'PARCEL_COUNTS_WRONG',
    entries: relisted((entries) => [{ name: 'ff'.repeat(16), bytes: Buffer.from('x') }, ...entries]),
  },
  {
    name: 'record-missing',
    why: 'records.ndjson names an entry that is not there',
    expect: 'PARCEL_INDEX_INVALID',
    entries: relisted((entries) => entries.slice(1)),
  },
  {
    name: 'record-altered',
    why: 'a payload is not what its line in records.ndjson says, though every other digest fits',
    expect: 'PARCEL_INDEX_INVALID',
    of: image,
    entries: relisted((entries) => entries.map((entry, index) => (index === 0 ? { ...entry, bytes: flip(entry.bytes, 900) } : entry))),
  },
  {
    name: 'record-category',
    why: 'a category nobody can have filed',
    expect: 'PARCEL_INDEX_INVALID',
    entries: relisted((entries) => edit(entries, recordsName, (lines) => lines.replace('demographics', 'unclassified'))),
  },
  {
    name: 'record-of-another',
    why: 'a record of a facility that is not the sender',
    expect: 'PARCEL_INDEX_INVALID',
    entries: relisted((entries) => edit(entries, recordsName, (lines) => lines.replace('1312345670', '1319999999'))),
  },
  {
    name: 'subject-not-json',
    why: 'a line of subjects.ndjson is not JSON',
    expect: 'PARCEL_INDEX_INVALID',
    entries: relisted((entries) => edit(entries, subjectsName, (lines) => lines.replace('}', ''))),
  },
  {
    name: 'counts',
    why: 'parcel.json counts one subject more',
    expect: 'PARCEL_COUNTS_WRONG',
    entries: (entries) => edit(entries, parcelName, (json) => json.replace('"subjects": 2', '"subjects": 3')),
  },
  {
    name: 'lane',
    why: 'parcel.json says image, the bytes say text',
    expect: 'PARCEL_INDEX_INVALID',
    entries: (entries) => edit(entries, parcelName, (json) => json.replace('"text"', '"image"')),
  },
  {
    name: 'suite',
    why: 'a suite of the future',
    expect: 'PARCEL_SUITE_UNKNOWN',
    entries: (entries) => edit(entries, parcelName, (json) => json.replace('age-v1', 'age-v2')),
  },
  {
    name: 'statement-suite',
    why: 'the statement names a suite of the future',
    expect: 'PARCEL_SUITE_UNKNOWN',
    statement: (statement, key) => sign({ ...statement, suite: 'age-v2' }, key),
  },
  {
    name: 'statement-sha256',
    why: 'the statement speaks of a file of the same size with another digest',
    expect: 'PARCEL_STATEMENT_MISMATCH',
    statement: (statement, key) => sign({ ...statement, sha256: '0'.repeat(64) }, key),
  },
  {
    name: 'statement-bytes',
    why: 'the statement speaks of a longer file',
    expect: 'PARCEL_STATEMENT_MISMATCH',
    statement: (statement, key) => sign({ ...statement, bytes: statement.bytes + 1 }, key),
  },
  {
    name: 'statement-sequence',
    why: 'the statement has another sequence than parcel.json',
    expect: 'PARCEL_STATEMENT_MISMATCH',
    statement: (statement, key) => sign({ ...statement, sequence: 8 }, key),
  },
  {
    name: 'statement-signature',
    why: 'the statement was signed with a key that is not trusted',
    expect: 'SIGNATURE_INVALID',
    statement: (statement) => sign(statement, newSigningKey()),
  },
  {
    name: 'statement-altered',
    why: 'the statement was altered after it was signed',
    expect: 'SIGNATURE_INVALID',
    statement: (statement, key) => {
      const other = sign({ ...statement, sequence: 8 }, key).split('.');
      const [head, , signature] = sign(statement, key).split('.');
      return [head, other[1], signature].join('.');
    },
  },
];

function contents(lane: Lane, payloads: readonly Buffer[], prefix: Buffer = Buffer.alloc(0)): Contents {
  const lines = payloads.map((payload, index) => lineOf(lane, index, payload, prefix));
  const entries = payloads.map((payload, index) => ({
    name: recordIds[index] ?? '',
    bytes: Buffer.concat([prefix, payload]),
  }));
  const subjects = payloads.length === 0 ? [] : [describedSubject(), mergedSubject()];
  const counts = { records: payloads.length, subjects: subjects.length };
  const files = [
    ...entries,
    { name: recordsName, bytes: Buffer.from(lines.map(recordLine).join('')) },
    { name: subjectsName, bytes: Buffer.from(subjects.join('')) },
    { name: digestsName, bytes: Buffer.alloc(0) },
    { name: parcelName, bytes: Buffer.from(parcelJson({ ...facts(lane, counts), ...rest })) },
  ];
  return { lane, entries: relisted((all) => all)(files) };
}

function lineOf(lane: Lane, index: number, payload: Buffer, prefix: Buffer): RecordLine {
  const common = {
    recordId: recordIds[index] ?? '',
    facility: '1312345670',
    patientId: '0000012345',
    patientIdNormalized: '12345',
    subjectId: 's-0001',
    basis: 'article-57',
    notice: '2026-04',
    op: 'INS',
    eventAt: '2026-11-23T10:15:30+09:00',
    bytes: payload.length,
    sha256: sha256(payload),
  } as const;
  const hl7 = { category: 'demographics', nativeKey: `HIS|${index}`, source: 'ehr-feed', route: 'mllp' } as const;
  const dicom = { category: 'image', nativeKey: `2.25.${index}`, source: 'pacs', route: 'c-store' } as const;
  if (lane === 'text') return { ...common, ...hl7, mediaType: 'x-application/hl7-v2+er7', charset: 'ISO IR87' };
  return {
    ...common,
    ...dicom,
    mediaType: 'application/dicom',
    studyInstanceUid: '2.25.100',
    seriesInstanceUid: '2.25.101',
    sopInstanceUid: `2.25.${index}`,
    modality: 'CT',
    transferSyntaxUid: '1.2.840.10008.1.2.1',
    ...(prefix.length > 0 && { prefixBytes: prefix.length }),
  };
}

function describedSubject(): string {
  return subjectLine({
    subjectId: 's-0001',
    patientId: '0000012345',
    patientIdNormalized: '12345',
    recordId: recordIds[0] ?? '',
    nameKanji: '架橋　太郎',
    nameKana: 'カケハシ　タロウ',
    birthDate: '1970-01-01',
    sex: 'M',
    insurance: ['06123456 記号1 番号2 枝番00'],
  });
}

function mergedSubject(): string {
  return subjectLine({ event: 'merge', subjectId: 's-0009', into: 's-0001', recordId: recordIds[0] ?? '' });
}

function facts(lane: Lane, counts: { records: number; subjects: number }) {
  return {
    parcelId: '01KAKEHASHI0VECTOR',
    agent: '1312345670',
    epoch: 1,
    sequence: 7,
    previous: '01KAKEHASHI0BEFORE',
    lane,
    suite: 'age-v1',
    counts,
    registerVersion: 12,
    ledgerHead: { seq: 34, hash: 'ab'.repeat(32) },
    createdAt: '2026-11-23T22:00:00.000+09:00',
  } as const;
}

/** The Part 10 preamble and `DICM`, with an empty group length standing for the rest. */
function part10(): Buffer {
  return Buffer.concat([Buffer.alloc(128), Buffer.from('DICM'), Buffer.from('02000000554c040000000000', 'hex')]);
}

/** Bytes without a pattern that are the same in every run. */
function noise(bytes: number): Buffer {
  const blocks = Array.from({ length: Math.ceil(bytes / 32) }, (_, index) => createHash('sha256').update(`${index}`).digest());
  return Buffer.concat(blocks).subarray(0, bytes);
}

function edit(entries: readonly Entry[], name: string, change: (content: string) => string): Entry[] {
  return entries.map((entry) =>
    entry.name === name ? { ...entry, bytes: Buffer.from(change(entry.bytes.toString())) } : entry,
  );
}

/** Makes an edit, and lists the digests of what came of it: the damage is then not one of the manifest. */
function relisted(change: Edit): Edit {
  return (entries) => {
    const changed = change(entries);
    const lines = changed
      .filter(({ name }) => name !== digestsName && name !== parcelName)
      .map(({ name, bytes }) => digestLine(name, sha256(bytes)));
    return edit(changed, digestsName, () => lines.join(''));
  };
}

function tarOf(entries: readonly Entry[]): Buffer {
  const blocks = entries.flatMap(({ name, bytes, type }) => [
    type === undefined ? tarHeader(name, bytes.length) : retyped(tarHeader(name, bytes.length), type),
    bytes,
    tarPadding(bytes.length),
  ]);
  return Buffer.concat([...blocks, tarEnd()]);
}

function retyped(header: Buffer, type: string): Buffer {
  header.write(type, 156, 'ascii');
  header.write('/etc/hostname', 157, 'ascii');
  header.write('        ', 148, 'ascii');
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'ascii');
  return header;
}

async function seal(plain: Buffer, recipients: readonly string[]): Promise<Buffer> {
  const chunks: Buffer[] = [];
  const age = await AgeWriter.start({ write: async (chunk) => void chunks.push(Buffer.from(chunk)) }, recipients);
  await age.write(plain);
  await age.end();
  await age.close();
  return Buffer.concat(chunks);
}

function headerBytes(sealed: Buffer): number {
  return sealed.indexOf('\n', sealed.indexOf('\n--- ') + 1) + 1;
}

function flip(bytes: Buffer, at: number): Buffer {
  const copy = Buffer.from(bytes);
  copy[at] = (copy[at] ?? 0) ^ 1;
  return copy;
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

async function identityOf(name: Vector['identity']): Promise<string> {
  const path = join(here, name);
  if (!existsSync(path)) {
    const note = '# Made for test vectors and published with them: protects nothing.\n';
    writeFileSync(path, `${note}${await generateX25519Identity()}\n`);
  }
  return readFileSync(path, 'utf8').split('\n')[1] ?? '';
}

async function make(recipe: Recipe, recipients: readonly string[], key: SigningKey): Promise<Vector> {
  const { name, why, expect, of = text, identity = 'online.key' } = recipe;
  const entries = recipe.entries?.(of.entries) ?? of.entries;
  const tar = recipe.tar?.(tarOf(entries)) ?? tarOf(entries);
  const compressed = of.lane === 'text' ? zstdCompressSync(tar) : tar;
  const sealed = await seal(recipe.compressed?.(compressed) ?? compressed, recipients);
  const file = `${name}${laneSuffix[of.lane]}`;
  const bytes = recipe.sealed?.(sealed) ?? sealed;
  writeFileSync(join(here, file), bytes);
  if (!recipe.statement) return { file, identity, expect, why };
  const counts = { records: of.entries.length - 4, subjects: of.entries.length === 4 ? 0 : 2 };
  const statement = { v: 1, ...facts(of.lane, counts), bytes: bytes.length, sha256: sha256(bytes) } as const;
  writeFileSync(join(here, `${name}.jws`), recipe.statement(statement, key));
  return { file, statement: `${name}.jws`, identity, expect, why };
}

if (import.meta.main) {
  mkdirSync(here, { recursive: true });
  const key = signingKeyFromSeed(Buffer.alloc(32, 'kakehashi vectors'));
  writeFileSync(join(here, 'signing-jwks.json'), `${JSON.stringify({ keys: [key.publicJwk] })}\n`);
  const online = await identityToRecipient(await identityOf('online.key'));
  const recovery = await identityToRecipient(await identityOf('recovery.key'));
  await identityOf('stranger.key');
  const vectors: Vector[] = [];
  for (const recipe of recipes) vectors.push(await make(recipe, [online, recovery], key));
  writeFileSync(join(here, 'index.json'), `${JSON.stringify(vectors, undefined, 2)}\n`);
}
