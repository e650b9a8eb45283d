import { readdir, readFile, writeFile, mkdtemp } from 'node:fs/promises';
import { join } from 'node:path';
import { extract } from 'tar-stream';
import { describe, expect, it } from 'vitest';
import { AgeReader } from '../../agent/parcel/age-reader.ts';
import { hasRoom, openParcel, packParcel, type ParcelEntry, parcelLimits } from '../../agent/parcel/index.ts';
import { collect, entryOf, noise, packBodies, sha256, subject, trailer, useSample } from './samples.ts';
import { recordIdOf } from './record-line.ts';

const sample = useSample();

/** A folder of its own, so that what a test leaves behind is seen. */
const freshFolder = () => mkdtemp(join(sample.folder, 'pack-'));

function pack(path: string, entries: Iterable<ParcelEntry> | AsyncIterable<ParcelEntry>, signal?: AbortSignal) {
  const { recipients } = sample;
  return packParcel({ path, lane: 'text', recipients, entries, trailer: () => trailer, ...(signal && { signal }) });
}

describe('packParcel', () => {
  it.each(['text', 'image'] as const)('keeps every byte of every payload in the %s lane', async (lane) => {
    const folder = await freshFolder();
    const bodies = [Buffer.alloc(0), Buffer.from([0x83, 0x5c, 0x0d]), noise(511), noise(512), noise(300_000)];
    const packed = await packBodies(sample, { path: join(folder, 'p'), lane, bodies });
    expect(packed.counts).toEqual({ records: bodies.length, subjects: 1 });
    const out = join(folder, 'out');
    const opened = await openParcel({ source: join(folder, 'p'), identities: sample.identities, out });
    expect(opened).toMatchObject({
      bytes: packed.bytes,
      sha256: packed.sha256,
      parcel: { lane, counts: packed.counts },
    });
    for (const [index, body] of bodies.entries()) {
      expect(sha256(await readFile(join(out, recordIdOf(index))))).toBe(sha256(body));
    }
  });

  it('writes the trailer behind the payloads, in its order', async () => {
    const path = join(await freshFolder(), 'p');
    await packBodies(sample, { path, lane: 'image', bodies: [noise(10), noise(20)] });
    const reader = await AgeReader.open(path, sample.identities);
    const tar = extract();
    tar.end(await collect(reader.plain()));
    const names: string[] = [];
    for await (const entry of tar) {
      names.push(entry.header.name);
      entry.resume();
    }
    await reader.close();
    expect(names).toEqual([
      recordIdOf(0),
      recordIdOf(1),
      'records.ndjson',
      'subjects.ndjson',
      'manifest-sha256.txt',
      'parcel.json',
    ]);
  });

  it('puts a prefix in front of the payload and leaves it out of its digest', async () => {
    const folder = await freshFolder();
    const body = noise(2000);
    const prefix = Buffer.from('DICM');
    async function* inPieces() {
      yield body.subarray(0, 700);
      yield body.subarray(700);
    }
    await pack(join(folder, 'p'), [
      entryOf(0, body, { prefix, body: inPieces() }),
      entryOf(1, Buffer.alloc(0), { prefix }),
    ]);
    const out = join(folder, 'out');
    await openParcel({ source: join(folder, 'p'), identities: sample.identities, out });
    expect(await readFile(join(out, recordIdOf(0)))).toEqual(Buffer.concat([prefix, body]));
    expect(await readFile(join(out, recordIdOf(1)))).toEqual(prefix);
    const [line] = (await readFile(join(out, 'records.ndjson'), 'utf8')).split('\n');
    expect(JSON.parse(line ?? '')).toMatchObject({ prefixBytes: 4, bytes: 2000, sha256: sha256(body) });
  });

  it('writes no field that the format does not name', async () => {
    const folder = await freshFolder();
    const entry = entryOf(0, noise(3));
    const line = { ...entry.line, memo: '架橋 太郎', charset: undefined };
    await pack(join(folder, 'p'), [{ ...entry, line }]);
    const out = join(folder, 'out');
    await openParcel({ source: join(folder, 'p'), identities: sample.identities, out });
    const lines = await readFile(join(out, 'records.ndjson'), 'utf8');
    expect(lines).toBe(`${JSON.stringify(entry.line)}\n`);
  });

  it.each([
    ['a byte more', noise(11)],
    ['a byte less', noise(9)],
    ['another byte', Buffer.concat([noise(9), Buffer.from([0])])],
  ])('refuses a body with %s than its line says, by its ordinal', async (_, body) => {
    const folder = await freshFolder();
    const entries = [entryOf(0, noise(5)), entryOf(1, noise(10), { body })];
    await expect(pack(join(folder, 'p'), entries)).rejects.toMatchObject({
      code: 'PAYLOAD_MISMATCH',
      details: { ordinal: 2 },
    });
    expect(await readdir(folder)).toEqual([]);
  });

  it.each(['text', 'image'] as const)('stops soon after an abort and leaves nothing, %s lane', async (lane) => {
    const folder = await freshFolder();
    const abort = new AbortController();
    const reason = new Error('stopped');
    let given = 0;
    async function* endless() {
      for (;;) {
        if (++given === 20) abort.abort(reason);
        yield noise(100_000);
      }
    }
    const line = { ...entryOf(0, Buffer.alloc(0)).line, bytes: parcelLimits.recordBytes };
    const packing = packParcel({
      path: join(folder, 'p'),
      lane,
      recipients: sample.recipients,
      entries: [{ line, body: endless() }],
      trailer: () => trailer,
      signal: abort.signal,
    });
    await expect(packing).rejects.toBe(reason);
    expect(given).toBe(20);
    expect(await readdir(folder)).toEqual([]);
  });

  it('passes on why a payload could not be read, and lets go of the payload', async () => {
    const folder = await freshFolder();
    const broken = new Error('spool');
    let released = false;
    async function* body() {
      try {
        yield noise(5);
        throw broken;
      } finally {
        released = true;
      }
    }
    await expect(pack(join(folder, 'p'), [entryOf(0, noise(10), { body: body() })])).rejects.toBe(broken);
    expect(released).toBe(true);
    expect(await readdir(folder)).toEqual([]);
  });

  it('is transient where the disk refuses', async () => {
    const folder = await freshFolder();
    await writeFile(join(folder, 'file'), '');
    await expect(pack(join(folder, 'file', 'p'), [])).rejects.toMatchObject({
      code: 'PARCEL_UNWRITABLE',
      class: 'transient',
    });
  });

  it('refuses a record larger than any may be', async () => {
    const folder = await freshFolder();
    const line = { ...entryOf(0, Buffer.alloc(0)).line, bytes: parcelLimits.recordBytes };
    const entry = { line, prefix: Buffer.from('x'), body: Buffer.alloc(0) };
    await expect(pack(join(folder, 'p'), [entry])).rejects.toMatchObject({ code: 'RECORD_TOO_LARGE' });
    expect(await readdir(folder)).toEqual([]);
  });

  it('refuses a line that the other side would refuse, by its ordinal and field', async () => {
    const folder = await freshFolder();
    const entry = entryOf(0, noise(3));
    const nameless = { ...entry, line: { ...entry.line, nativeKey: 'x'.repeat(5000) } };
    await expect(pack(join(folder, 'p'), [nameless])).rejects.toMatchObject({
      code: 'PARCEL_LINE_INVALID',
      details: { what: 'record', ordinal: 1, field: 'nativeKey' },
    });
    expect(await readdir(folder)).toEqual([]);
  });

  it('refuses more subjects than fit in their index', async () => {
    const folder = await freshFolder();
    const described = { ...subject, address: 'x'.repeat(4096) };
    const subjects = Array.from({ length: 33_000 }, () => described);
    const packing = packParcel({
      path: join(folder, 'p'),
      lane: 'text',
      recipients: sample.recipients,
      entries: [],
      trailer: () => ({ ...trailer, subjects }),
    });
    await expect(packing).rejects.toMatchObject({
      code: 'PARCEL_OVERFULL',
      details: { limit: parcelLimits.indexBytes, unit: 'bytes of subjects.ndjson' },
    });
    expect(await readdir(folder)).toEqual([]);
  });

  it('refuses one record more than a parcel may hold', async () => {
    const folder = await freshFolder();
    const nothing = Buffer.alloc(0);
    function* tooMany() {
      for (let index = 0; index <= parcelLimits.records; index++) yield entryOf(index, nothing);
    }
    await expect(pack(join(folder, 'p'), tooMany())).rejects.toMatchObject({
      code: 'PARCEL_OVERFULL',
      details: { limit: parcelLimits.records, unit: 'records' },
    });
    expect(await readdir(folder)).toEqual([]);
  });
});

describe('hasRoom', () => {
  it('lets a record of any size into an empty parcel, so that it travels alone', () => {
    expect(hasRoom({ records: 0, bytes: 0 }, { bytes: parcelLimits.recordBytes })).toBe(true);
    expect(hasRoom({ records: 1, bytes: parcelLimits.recordBytes }, { bytes: 0 })).toBe(false);
  });

  it('closes at the byte and at the record that would pass the limit', () => {
    expect(hasRoom({ records: 1, bytes: parcelLimits.bytes - 10 }, { bytes: 10 })).toBe(true);
    expect(hasRoom({ records: 1, bytes: parcelLimits.bytes - 10 }, { bytes: 11 })).toBe(false);
    expect(hasRoom({ records: parcelLimits.records - 1, bytes: 0 }, { bytes: 1 })).toBe(true);
    expect(hasRoom({ records: parcelLimits.records, bytes: 0 }, { bytes: 1 })).toBe(false);
  });
});
