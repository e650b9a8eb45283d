/**
 * The studies of the demo: several modalities, names in ISO 2022 IR 87, private elements, a compressed syntax, and one
 * multiframe of more than 300 MB, which is written to its file piece by piece.
 */
import { createCipheriv } from 'node:crypto';
import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { finished } from 'node:stream/promises';
import { instance, type InstanceChoice, toFile, Writer } from '../peers/dicom/dataset.ts';
import { daysAgo } from '../peers/hospital/hospital.ts';
import { type Patient, patients } from './cast.ts';

export interface Study {
  /** Names its UIDs. */
  readonly number: number;
  readonly patient: Patient;
  readonly images: readonly InstanceChoice[];
}

const many = (count: number, choice: InstanceChoice): InstanceChoice[] =>
  Array.from({ length: count }, (_, index) => ({ ...choice, number: index + 1 }));

/** Every one with private elements would be truer, but Orthanc takes a second to read such a sequence. */
const isPlain = true;
const ct = { sopClass: 'ct', modality: 'CT', size: 256, isPlain } as const;
const mr = { sopClass: 'mr', modality: 'MR', size: 128, syntax: 'implicit', isPlain } as const;
const cr = { sopClass: 'cr', modality: 'CR', syntax: 'jpegBaseline', isPlain } as const;

/** What the PACS holds. */
export const pacsStudies: readonly Study[] = [
  { number: 101, patient: patients.tsuru, images: [...many(12, ct), { ...ct, series: 2, isPlain: false }] },
  { number: 102, patient: patients.hoshi, images: [...many(2, cr), ...many(4, { ...mr, series: 2 })] },
  { number: 103, patient: patients.merged, images: many(2, ct) },
  { number: 104, patient: patients.later, images: many(2, mr) },
  { number: 105, patient: patients.mid, images: many(2, { ...ct, name: 'katakana' }) },
  { number: 106, patient: patients.labs, images: many(2, ct) },
  { number: 107, patient: patients.waits, images: many(2, mr) },
  { number: 108, patient: patients.stopped, images: many(2, ct) },
  { number: 109, patient: patients.unknown, images: many(2, cr) },
];

/** What a modality sends by itself; the PACS never has it. */
export const pushedStudy: Study = { number: 110, patient: patients.tsuru, images: many(3, ct) };

/** A long ultrasound recording of one more study. */
export const recording: Study = {
  number: 111,
  patient: patients.hoshi,
  images: [{ sopClass: 'multiframe', modality: 'US', isPlain }],
};

const frameSize = 1024;
const frameBytes = frameSize * frameSize * 2;
const frames = 152;

/** Writes a study's files. */
export async function writeStudy(folder: string, study: Study): Promise<void> {
  await mkdir(folder, { recursive: true });
  for (const [index, choice] of study.images.entries()) {
    await writeFile(join(folder, `${study.number}-${index}.dcm`), toFile(instance(choiceOf(study, choice))));
  }
}

/** Everything up to the pixels is made small; then the rows, the columns and the pixels become what they should be. */
export async function writeRecording(folder: string): Promise<string> {
  await mkdir(folder, { recursive: true });
  const small = instance({ ...choiceOf(recording, recording.images[0] ?? {}), frames, size: 2 });
  const pixelBytes = 12 + 2 * 2 * 2 * frames;
  const header = resized(toFile(small).subarray(0, -pixelBytes));
  const writer = new Writer();
  const element = Buffer.concat([
    Buffer.from([0xe0, 0x7f, 0x10, 0, 0x4f, 0x57, 0, 0]),
    writer.uint32(frames * frameBytes),
  ]);
  const path = join(folder, `${recording.number}-0.dcm`);
  const file = createWriteStream(path);
  const noise = createCipheriv('aes-128-ctr', Buffer.alloc(16, 1), Buffer.alloc(16));
  file.write(Buffer.concat([header, element]));
  for (let frame = 0; frame < frames; frame++) {
    if (!file.write(noise.update(Buffer.alloc(frameBytes)))) await once(file, 'drain');
  }
  file.end();
  await finished(file);
  return path;
}

/** (0028,0010) and (0028,0011), US, in Explicit VR Little Endian. */
function resized(header: Buffer): Buffer {
  for (const element of [0x10, 0x11]) {
    const at = header.lastIndexOf(Buffer.from([0x28, 0, element, 0, 0x55, 0x53, 2, 0]));
    if (at < 0) throw new Error('there are no rows and columns to change');
    header.writeUInt16LE(frameSize, at + 8);
  }
  return header;
}

export function choiceOf({ number, patient }: Study, choice: InstanceChoice): InstanceChoice {
  return { studyDate: daysAgo(0).replaceAll('-', ''), patientId: patient.id, study: number, ...choice };
}
