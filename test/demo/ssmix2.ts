/**
 * A standardized storage of SS-MIX2 with every patient of the cast, and what such trees have besides: a name of six
 * fields, junk, a file of somebody else's, a file that is being written. The next day an order is updated and another
 * deleted, by renaming, as the storage's writers do.
 */
import { createHash } from 'node:crypto';
import { cp, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { systemClock } from '../../agent/base/clock.ts';
import type { FiledCategory } from '../../agent/model/category.ts';
import { hl7 } from '../peers/hospital/messages.ts';
import { type FileParts, fileName, folderOf, noOrder, Tree, type TreeFile } from '../source/ssmix2/tree.ts';
import type { Offered } from './accounting.ts';
import { cast, type Patient, patients, polledFateOf } from './cast.ts';
import type { Stage } from './stage.ts';

const sourceName = 'ssmix';
const minuteMs = 60_000;

type Fated = Pick<Offered, 'fate' | 'isUnread'>;

const fileKinds = [
  { dataType: 'ADT-00', type: 'ADT^A08^ADT_A01', category: 'demographics', careDate: '-', orderNumber: noOrder },
  { dataType: 'OML-11', type: 'OUL^R22^OUL_R22', category: 'lab-result' },
  { dataType: 'OMP-01', type: 'RDE^O11^RDE_O11', category: 'prescription' },
  { dataType: 'PPR-01', type: 'PPR^ZD1^PPR_ZD1', category: 'diagnosis', careDate: '-' },
] as const satisfies readonly (Omit<FileParts, 'patientId'> & { type: string; category: FiledCategory })[];

export class Ssmix2Storage implements Stage {
  readonly kind = 'ssmix2';
  readonly about = 'a standardized storage of SS-MIX2, ISO-2022-JP, with names and files that follow no rule';
  readonly polls = true;
  readonly overrides = [
    { key: `sources[${sourceName}].stableFor`, production: '60s', demo: '1s', why: 'files are complete sooner' },
  ];
  readonly #tree = new Tree();
  readonly #offered: Offered[] = [];
  #growing: TreeFile | undefined;
  #corrected: TreeFile | undefined;
  #deleted: TreeFile | undefined;

  get sources() {
    return [{ name: sourceName, kind: 'ssmix2', roots: [this.#tree.root], stableFor: '1s' }];
  }

  get offered(): readonly Offered[] {
    return this.#offered;
  }

  /** The tree as the first scan finds it. */
  fill(): void {
    for (const patient of cast) {
      for (const { type, category, ...parts } of fileKinds) {
        this.#put(patient, { ...parts, time: '20261120101500123' }, { type, ...polledFateOf(patient, category) });
      }
    }
    const { hoshi, tsuru } = patients;
    this.#corrected = this.#order(hoshi, { orderNumber: '000000000000011', time: '20261120110000000' });
    this.#deleted = this.#order(hoshi, { orderNumber: '000000000000012', time: '20261120110000000' });
    this.#putOdd(tsuru);
    this.#growing = this.#halfWritten(tsuru);
  }

  /** The day after: a file has been finished, an order corrected, another deleted. */
  changeOvernight(): void {
    const { hoshi, tsuru } = patients;
    if (this.#corrected) this.#tree.reflag(this.#corrected, '2');
    this.#order(hoshi, { orderNumber: '000000000000011', time: '20261121090000000' });
    if (this.#deleted) this.#tree.reflag(this.#deleted, '0');
    this.#order(hoshi, { orderNumber: '000000000000012', time: '20261121090000000', flag: '0' });
    if (!this.#growing) return;
    const whole = bytesOf(tsuru, 'OUL^R22^OUL_R22', 'grown');
    this.#tree.putAt(this.#growing.path, whole);
    this.#settled(this.#growing);
    this.#note(tsuru, whole, { fate: 'delivered' });
  }

  async keep(folder: string): Promise<void> {
    await mkdir(folder, { recursive: true });
    await cp(this.#tree.root, folder, { recursive: true });
  }

  async close(): Promise<void> {
    this.#tree.remove();
  }

  #order(patient: Patient, parts: Omit<FileParts, 'patientId'>): TreeFile {
    return this.#put(patient, parts, { type: 'OUL^R22^OUL_R22', fate: 'delivered' });
  }

  #put(patient: Patient, parts: Omit<FileParts, 'patientId'>, as: Fated & { type: string }): TreeFile {
    const { dataType = '', orderNumber = '', time = '' } = parts;
    const bytes = bytesOf(patient, as.type, `${dataType}-${orderNumber}-${time}`);
    const file = this.#tree.put({ patientId: patient.id, ...parts }, bytes);
    this.#settled(file);
    this.#note(patient, bytes, as);
    return file;
  }

  /** Six fields; two bytes; a file that says it is somebody else's. All three are kept for a person to look at. */
  #putOdd(patient: Patient): void {
    const place = { patientId: patient.id, orderNumber: '000000000000021' };
    const odd = [
      { path: join(folderOf(place), fileName(place).replace('_01_', '_')), bytes: bytesOf(patient, 'OUL^R22', 'six') },
      { path: join(folderOf(place), fileName(place)), bytes: Buffer.of(0xfb, 0xfc) },
      {
        path: join(folderOf(place), fileName({ ...place, orderNumber: '000000000000022' })),
        bytes: bytesOf(patients.hoshi, 'OUL^R22', 'another'),
      },
    ];
    for (const { path, bytes } of odd) {
      this.#settled(this.#tree.putAt(path, bytes));
      this.#note(patient, bytes, { fate: 'quarantined' });
    }
  }

  /** Written to a moment ago, and not whole: nothing of it may be taken. */
  #halfWritten(patient: Patient): TreeFile {
    const parts = { patientId: patient.id, orderNumber: '000000000000031' };
    const file = this.#tree.put(parts, bytesOf(patient, 'OUL^R22^OUL_R22', 'grown').subarray(0, 100));
    this.#tree.touch(file, systemClock.now() + minuteMs);
    return file;
  }

  #settled(file: TreeFile): void {
    this.#tree.touch(file, systemClock.now() - minuteMs);
  }

  #note({ id }: Patient, bytes: Buffer, { fate, isUnread }: Fated): void {
    const sha256 = createHash('sha256').update(bytes).digest('hex');
    this.#offered.push({
      kind: 'ssmix2',
      source: sourceName,
      patientId: id,
      sha256,
      fate,
      ...(isUnread && { isUnread }),
    });
  }
}

function bytesOf(person: Patient, type: string, controlId: string): Buffer {
  return hl7({ controlId, person, charset: 'iso-2022-jp', type }).bytes;
}
