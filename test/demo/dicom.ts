/**
 * The PACS and a modality: Orthanc, asked by C-FIND and C-MOVE, and storescu, which sends a study by itself.
 *
 * The oracle is `storescp +B`, which stores data sets bit by bit without understanding them. It listens where the agent
 * will listen, gets everything sent by the same programs, and makes room before the agent starts.
 */
import { createHash } from 'node:crypto';
import { mkdir, rename, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { dataSetOf, instance, instanceUid, studyUid } from '../peers/dicom/dataset.ts';
import { run, Storescp } from '../peers/dicom/dcmtk.ts';
import { Orthanc } from '../peers/dicom/orthanc.ts';
import type { Offered } from './accounting.ts';
import { fateOf, polledFateOf } from './cast.ts';
import { choiceOf, pacsStudies, pushedStudy, recording, type Study, writeRecording, writeStudy } from './images.ts';
import type { Stage } from './stage.ts';

const sourceName = 'pacs';
const aeTitle = 'KAKEHASHI';

/** DCMTK waits for a full packet unless it is told not to. */
const promptly = { TCP_NODELAY: '1' };

export class Pacs implements Stage {
  readonly kind = 'dicom';
  readonly about = 'Orthanc with CT, MR, CR and US in ISO 2022 IR 87, one image of 319 MB; and a modality that sends';
  readonly polls = true;
  readonly overrides = [
    { key: `sources[${sourceName}].stableFor`, production: '30m', demo: '0s', why: 'studies are complete sooner' },
  ];
  readonly #folder: string;
  readonly #orthanc: Orthanc;
  readonly #port: number;
  #oracle: Storescp | undefined;
  #offered: Offered[] = [];

  private constructor(folder: string, orthanc: Orthanc, oracle: Storescp) {
    this.#folder = folder;
    this.#orthanc = orthanc;
    this.#port = oracle.port;
    this.#oracle = oracle;
  }

  static async start(folder: string): Promise<Pacs> {
    const oracle = await Storescp.start();
    try {
      const orthanc = await Orthanc.start({ destination: { aeTitle, port: oracle.port } });
      return new Pacs(folder, orthanc, oracle);
    } catch (error) {
      await oracle.close();
      throw error;
    }
  }

  get sources() {
    const query = { host: '127.0.0.1', port: this.#orthanc.port, aeTitle: this.#orthanc.aeTitle };
    const listen = `127.0.0.1:${this.#port}`;
    return [{ name: sourceName, kind: 'dicom', aeTitle, listen, query, stableFor: '0s' }];
  }

  get offered(): readonly Offered[] {
    return this.#offered;
  }

  /** Fills the PACS, and has everything sent to the oracle once, as it will be sent to the agent. */
  async fill(): Promise<void> {
    const files = join(this.#folder, 'pacs');
    for (const study of pacsStudies) {
      await writeStudy(files, study);
      await this.#orthanc.put(...study.images.map((image) => instance(choiceOf(study, image))));
    }
    await this.#store(await writeRecording(files), { to: this.#orthanc.aeTitle, port: this.#orthanc.port });
    await writeStudy(join(this.#folder, 'modality'), pushedStudy);
    for (const study of [...pacsStudies, recording]) await this.#move(study);
    await this.send();
    const digests = digestsOf(this.#oracle?.files() ?? []);
    await this.#makeRoom();
    await this.#note(digests);
  }

  /** The modality sends its study to whoever listens. @throws when DCMTK says that it did not go */
  send(): Promise<void> {
    return this.#store(join(this.#folder, 'modality'), { to: aeTitle, port: this.#port });
  }

  async keep(folder: string): Promise<void> {
    await mkdir(dirname(folder), { recursive: true });
    await rename(this.#folder, folder);
  }

  async close(): Promise<void> {
    await this.#orthanc.close();
    await this.#makeRoom();
  }

  /** From now on the port is the agent's. */
  async #makeRoom(): Promise<void> {
    const oracle = this.#oracle;
    this.#oracle = undefined;
    await oracle?.close();
  }

  async #store(path: string, { to, port }: { readonly to: string; readonly port: number }): Promise<void> {
    const args = ['-aet', 'MODALITY', '-aec', to, '-R', '+sd', '127.0.0.1', String(port), path];
    await dcmtk('storescu', args);
  }

  async #move({ number }: Study): Promise<void> {
    const { aeTitle: pacs, port } = this.#orthanc;
    const keys = ['-k', 'QueryRetrieveLevel=STUDY', '-k', `StudyInstanceUID=${studyUid(number)}`];
    await dcmtk('movescu', ['-S', '-aet', aeTitle, '-aec', pacs, '-aem', aeTitle, ...keys, '127.0.0.1', String(port)]);
  }

  async #note(digests: ReadonlyMap<string, string>): Promise<void> {
    const pulled = [...pacsStudies, recording].flatMap((study) =>
      noted(study, polledFateOf(study.patient, 'image'), digests),
    );
    this.#offered = [...pulled, ...noted(pushedStudy, { fate: fateOf(pushedStudy.patient, 'image') }, digests)];
    await mkdir(this.#folder, { recursive: true });
    const lines = [...digests].map(([uid, sha256]) => `${sha256}  ${uid}\n`);
    await writeFile(join(this.#folder, 'data-sets-on-the-wire.sha256'), lines.join(''));
  }
}

/** @throws with what the program complained of */
async function dcmtk(program: string, args: readonly string[]): Promise<void> {
  const { code, said } = await run(program, args, promptly);
  if (code !== 0) throw new Error(`${program} failed: ${said}`);
}

/** SHA-256 (hex) of each data set, by the SOP Instance UID in the file's meta header. */
function digestsOf(files: readonly Buffer[]): Map<string, string> {
  return new Map(files.map((file) => [uidOf(file), createHash('sha256').update(dataSetOf(file)).digest('hex')]));
}

/** (0002,0003), UI. */
function uidOf(file: Buffer): string {
  const at = file.indexOf(Buffer.from([2, 0, 3, 0, 0x55, 0x49]));
  return file
    .subarray(at + 8, at + 8 + file.readUInt16LE(at + 6))
    .toString('latin1')
    .replace(/\0$/, '');
}

function noted(
  { number, patient, images }: Study,
  fate: Pick<Offered, 'fate' | 'isUnread'>,
  digests: ReadonlyMap<string, string>,
): Offered[] {
  return images.map(({ series = 1, number: image = 1 }) => {
    const sha256 = digests.get(instanceUid(number, series, image));
    if (sha256 === undefined) throw new Error('the oracle has not seen an image');
    return { kind: 'dicom', source: sourceName, patientId: patient.id, sha256, ...fate };
  });
}
