/** A real Orthanc with a store of its own in a temporary folder, on ports of its own. */
import { type ChildProcess, spawn } from 'node:child_process';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Instance } from './dataset.ts';
import { endProcess, type Environment, freePort, newFolder, pduBytesMax, whenOpen } from './dcmtk.ts';
import { send } from './scu.ts';

export interface OrthancChoice {
  /** Where our acceptor is, known to Orthanc under this AE title. */
  readonly destination: { readonly aeTitle: string; readonly port: number };
  /** Most answers to a C-FIND; 0: any number. */
  readonly resultsMax?: number;
  readonly env?: Environment;
}

const storeAttemptsMax = 5;

export class Orthanc {
  readonly port: number;
  readonly aeTitle = 'ORTHANC';
  readonly #httpPort: number;
  readonly #process: ChildProcess;
  readonly #folder: string;

  private constructor(ports: { dicom: number; http: number }, process: ChildProcess, folder: string) {
    this.port = ports.dicom;
    this.#httpPort = ports.http;
    this.#process = process;
    this.#folder = folder;
  }

  static async start({ destination, resultsMax = 0, env = {} }: OrthancChoice): Promise<Orthanc> {
    const folder = newFolder('orthanc');
    const ports = { dicom: await freePort(), http: await freePort() };
    const configuration = {
      Name: 'test',
      StorageDirectory: join(folder, 'store'),
      IndexDirectory: join(folder, 'store'),
      Plugins: [],
      HttpPort: ports.http,
      RemoteAccessAllowed: false,
      AuthenticationEnabled: false,
      DicomAet: 'ORTHANC',
      DicomPort: ports.dicom,
      DicomCheckCalledAet: true,
      MaximumPduLength: pduBytesMax,
      DicomModalities: { [destination.aeTitle]: [destination.aeTitle, '127.0.0.1', destination.port] },
      LimitFindResults: resultsMax,
      LimitFindInstances: resultsMax,
      ConcurrentJobs: 1,
      SyncStorageArea: false,
      OverwriteInstances: true,
    };
    const path = join(folder, 'orthanc.json');
    writeFileSync(path, JSON.stringify(configuration));
    const child = spawn('Orthanc', [path], { stdio: 'ignore', env: { ...process.env, ...env } });
    const orthanc = new Orthanc(ports, child, folder);
    await whenOpen(ports.http, child);
    await whenOpen(ports.dicom, child);
    return orthanc;
  }

  /** By C-STORE: its HTTP door takes a second for each. */
  async put(...instances: readonly Instance[]): Promise<void> {
    for (const each of instances) {
      const status = await this.#store(each);
      if (status !== '0x0000') throw new Error(`Orthanc refused an instance: ${status}`);
    }
  }

  /** On a busy machine Orthanc sometimes drops an association it has just accepted; the same instance again is harmless. */
  async #store(instance: Instance): Promise<string> {
    let status = 'closed';
    for (let attempt = 0; attempt < storeAttemptsMax && status === 'closed'; attempt++) {
      status = await send(this.port, instance, { calledAe: this.aeTitle, fragment: 16_000 });
    }
    return status;
  }

  /** The files it holds, as it gives them away. */
  async files(): Promise<Buffer[]> {
    const ids: unknown = await (await this.#get('instances')).json();
    if (!Array.isArray(ids)) throw new TypeError('expected a list of instances');
    const files = ids.map(async (id) => {
      const answer = await this.#get(`instances/${String(id)}/file`);
      return Buffer.from(await answer.arrayBuffer());
    });
    return Promise.all(files);
  }

  #get(path: string): Promise<Response> {
    return fetch(`http://127.0.0.1:${this.#httpPort}/${path}`);
  }

  async close(): Promise<void> {
    await endProcess(this.#process);
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
