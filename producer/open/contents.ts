/**
 * The layout in which a producer uses what arrived:
 *
 * ```
 * OUT/records/RECORD                       a payload as the hospital's system sent it, named by record id
 * OUT/studies/STUDY/SERIES/RECORD.dcm      the same for images that name their study
 * OUT/records.ndjson  subjects.ndjson      the lines of all parcels opened together, without what was retracted
 * OUT/index.json                           where each record is, its digest, the studies, what was left out
 * OUT/parcels/PARCEL.json                  parcel.json of each, with the digest of the sealed file
 * ```
 */
import assert from 'node:assert';
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, readdir, readFile, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { z } from 'zod';
import { DurableFile, syncFolder, writeDurable } from '../../agent/base/files.ts';
import { ConnectorError } from '../../agent/model/errors.ts';
import type { ParcelFile, RecordLine } from '../../agent/parcel/index.ts';
import { recordSchema } from '../../agent/parcel/manifest.ts';
import { textLines } from '../../agent/parcel/lines.ts';
import type { Retracted } from './retracted.ts';

/** A record in index.json. Whose it is stands in records.ndjson only. */
const indexedRecordShape = z.object({
  recordId: z.string(),
  parcelId: z.string(),
  /** Below OUT; absent when retracted. */
  file: z.string().exactOptional(),
  category: z.string(),
  mediaType: z.string(),
  /** Of the file: for an image that is the payload with its Part 10 header in front. */
  sha256: z.string(),
  /** The retraction that covers it: the payload was not kept. */
  retracted: z.string().exactOptional(),
  /** True when it names a study by something that is not a UID, so that it was filed with the records. */
  uidInvalid: z.literal(true).exactOptional(),
});

const contentIndexShape = z.object({
  parcels: z.array(z.object({ parcelId: z.string(), agent: z.string(), sequence: z.int(), records: z.int() })),
  records: z.array(indexedRecordShape),
  studies: z.array(z.object({ studyInstanceUid: z.string(), series: z.int(), instances: z.int() })),
  /** How many of the records are. */
  retracted: z.int(),
});

type IndexedRecord = z.infer<typeof indexedRecordShape>;
export type ContentIndex = z.infer<typeof contentIndexShape>;

/** As much of a line as retractions ask for. */
const lineShape = z.object({ recordId: z.string(), subjectId: z.string().optional() });
type AnyLine = z.infer<typeof lineShape>;

/** A parcel as `openParcel` left it. */
export interface RawParcel {
  readonly folder: string;
  readonly parcel: ParcelFile;
  readonly sha256: string;
}

/** PS3.5 9.1: digits and dots, at most 64. Leading zeros are wrong there and common in practice, and do no harm here. */
const uidShape = /^(?=.{1,64}$)\d+(\.\d+)*$/;

/** Reads are larger than the 64 KiB of a stream: image files are read once more to be sure. */
const readBytes = 1024 * 1024;

/** Arranges opened parcels under `out`, which exists and is empty, and reads everything back. */
export class Contents {
  readonly #out: string;
  readonly #retracted: Retracted;
  readonly #records = new Map<string, IndexedRecord>();
  readonly #parcels: ContentIndex['parcels'][number][] = [];
  readonly #studies = new Map<string, Map<string, number>>();

  constructor(out: string, retracted: Retracted) {
    this.#out = out;
    this.#retracted = retracted;
  }

  /**
   * Takes several parcels in; a record that two of them hold is kept once.
   *
   * @throws ConnectorError PARCEL_MANIFEST_MISMATCH - what was written is not what was sent: the disk lies.
   */
  async arrange(parcels: readonly RawParcel[]): Promise<ContentIndex> {
    const records = await DurableFile.create(join(this.#out, 'records.ndjson'));
    const subjects = await DurableFile.create(join(this.#out, 'subjects.ndjson'));
    try {
      for (const raw of parcels) await this.#take(raw, { records, subjects });
      await records.commit();
      await subjects.commit();
    } finally {
      await records.abandon();
      await subjects.abandon();
    }
    await syncTree(this.#out);
    await this.#readBack();
    const index = this.#index();
    await writeDurable(join(this.#out, 'index.json'), Buffer.from(`${JSON.stringify(index, undefined, 1)}\n`));
    return index;
  }

  async #take(raw: RawParcel, lanes: { records: DurableFile; subjects: DurableFile }): Promise<void> {
    const { folder, parcel } = raw;
    const digests = await readDigests(join(folder, 'manifest-sha256.txt'));
    for await (const line of lines(join(folder, 'records.ndjson'))) {
      const record = recordSchema.parse(JSON.parse(line));
      if (this.#records.has(record.recordId)) continue;
      const sha256 = digests.get(record.recordId);
      assert(sha256 !== undefined, 'openParcel has found a digest for every record');
      const indexed = this.#place(record, parcel, sha256);
      this.#records.set(record.recordId, indexed);
      if (indexed.file === undefined) continue;
      await move(join(folder, record.recordId), join(this.#out, indexed.file));
      await lanes.records.write(Buffer.from(`${line}\n`));
    }
    for await (const line of lines(join(folder, 'subjects.ndjson'))) {
      const { subjectId = '' } = lineShape.parse(JSON.parse(line));
      if (this.#retracted.ofSubject(subjectId, parcel) === undefined)
        await lanes.subjects.write(Buffer.from(`${line}\n`));
    }
    const described = { ...parcel, sealedSha256: raw.sha256 };
    const path = join(this.#out, 'parcels', `${parcel.parcelId}.json`);
    await writeDurable(path, Buffer.from(`${JSON.stringify(described, undefined, 2)}\n`));
    const { parcelId, agent, sequence, counts } = parcel;
    this.#parcels.push({ parcelId, agent, sequence, records: counts.records });
  }

  #place(record: RecordLine, parcel: ParcelFile, sha256: string): IndexedRecord {
    const { recordId, category, mediaType } = record;
    const base = { recordId, parcelId: parcel.parcelId, category, mediaType, sha256 };
    const retracted = this.#retracted.ofRecord(recordId, parcel);
    if (retracted !== undefined) return { ...base, retracted };
    const { studyInstanceUid: study, seriesInstanceUid: series } = record;
    if (category !== 'image' || study === undefined) return { ...base, file: `records/${recordId}` };
    if (!uidShape.test(study) || !(series === undefined || uidShape.test(series))) {
      return { ...base, file: `records/${recordId}`, uidInvalid: true };
    }
    const folder = series ?? 'no-series';
    this.#countInstance(study, folder);
    return { ...base, file: `studies/${study}/${folder}/${recordId}.dcm` };
  }

  #countInstance(study: string, series: string): void {
    const known = this.#studies.get(study) ?? new Map<string, number>();
    known.set(series, (known.get(series) ?? 0) + 1);
    this.#studies.set(study, known);
  }

  async #readBack(): Promise<void> {
    for (const { file, sha256 } of this.#records.values()) {
      if (file === undefined) continue;
      const hash = createHash('sha256');
      await pipeline(createReadStream(join(this.#out, file), { highWaterMark: readBytes }), hash);
      if (hash.digest('hex') !== sha256) {
        throw new ConnectorError('PARCEL_MANIFEST_MISMATCH', { problem: 'a file read back has another digest' });
      }
    }
  }

  #index(): ContentIndex {
    const records = [...this.#records.values()];
    const studies = [...this.#studies].map(([studyInstanceUid, series]) => ({
      studyInstanceUid,
      series: series.size,
      instances: series.values().reduce((sum, count) => sum + count, 0),
    }));
    const retracted = records.filter((record) => record.retracted !== undefined).length;
    return { parcels: this.#parcels, records, studies, retracted };
  }
}

/**
 * Takes out of contents published before what has been retracted since: payloads and lines go, the index says so. The
 * index is written last, so that a crash in between leaves something that is simply done again. Returns how many
 * records were marked.
 */
export async function markRetracted(out: string, retracted: Retracted, parcel: ParcelFile): Promise<number> {
  const path = join(out, 'index.json');
  const index = contentIndexShape.parse(JSON.parse(await readFile(path, 'utf8')));
  const covered = index.records.filter(({ recordId, retracted: known }) => {
    return known === undefined && retracted.ofRecord(recordId, parcel) !== undefined;
  });
  for (const { file } of covered) if (file !== undefined) await rm(join(out, file), { force: true });
  await keepLines(join(out, 'records.ndjson'), ({ recordId }) => retracted.ofRecord(recordId, parcel) === undefined);
  await keepLines(join(out, 'subjects.ndjson'), ({ subjectId }) => {
    return subjectId === undefined || retracted.ofSubject(subjectId, parcel) === undefined;
  });
  if (covered.length === 0) return 0;
  const records = index.records.map((record) => marked(record, retracted.ofRecord(record.recordId, parcel)));
  const marks = { ...index, records, retracted: records.filter((record) => record.retracted !== undefined).length };
  await writeDurable(path, Buffer.from(`${JSON.stringify(marks, undefined, 1)}\n`));
  return covered.length;
}

function marked(record: IndexedRecord, retraction: string | undefined): IndexedRecord {
  if (retraction === undefined || record.retracted !== undefined) return record;
  const { file: _gone, ...rest } = record;
  return { ...rest, retracted: retraction };
}

async function keepLines(path: string, isKept: (line: AnyLine) => boolean): Promise<void> {
  const file = await DurableFile.create(path);
  try {
    for await (const line of lines(path))
      if (isKept(lineShape.parse(JSON.parse(line)))) await file.write(Buffer.from(`${line}\n`));
    await file.commit();
  } finally {
    await file.abandon();
  }
}

async function readDigests(path: string): Promise<Map<string, string>> {
  const digests = new Map<string, string>();
  for await (const line of lines(path)) digests.set(line.slice(66), line.slice(0, 64));
  return digests;
}

/** Not node:readline: that ends a line at U+2028 too, which JSON carries as it is. */
async function* lines(path: string): AsyncGenerator<string> {
  for await (const { text } of textLines(path)) yield text;
}

async function move(from: string, to: string): Promise<void> {
  await mkdir(dirname(to), { recursive: true, mode: 0o700 });
  await rename(from, to);
}

async function syncTree(folder: string): Promise<void> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const folders = entries.filter((entry) => entry.isDirectory()).map((entry) => join(entry.parentPath, entry.name));
  for (const path of [folder, ...folders]) await syncFolder(path);
}
