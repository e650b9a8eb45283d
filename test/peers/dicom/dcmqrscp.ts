/** DCMTK's own archive (`dcmqrscp`), with a store in a temporary folder, on a port of its own. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Instance } from './dataset.ts';
import { endProcess, freePort, newFolder, whenOpen } from './dcmtk.ts';
import { send } from './scu.ts';

export class Dcmqrscp {
  readonly port: number;
  readonly aeTitle = 'QRSCP';
  readonly #process: ChildProcess;
  readonly #folder: string;

  private constructor(port: number, process: ChildProcess, folder: string) {
    this.port = port;
    this.#process = process;
    this.#folder = folder;
  }

  /** `destination`: where our acceptor is, known to it under this AE title. */
  static async start(destination: { readonly aeTitle: string; readonly port: number }): Promise<Dcmqrscp> {
    const folder = newFolder('dcmqrscp');
    const store = join(folder, 'store');
    mkdirSync(store);
    const port = await freePort();
    const configuration = `NetworkTCPPort = ${port}
MaxPDUSize = 16384
MaxAssociations = 16
HostTable BEGIN
ours = (${destination.aeTitle}, 127.0.0.1, ${destination.port})
HostTable END
VendorTable BEGIN
VendorTable END
AETable BEGIN
QRSCP ${store} RW (200, 1024mb) ANY
AETable END
`;
    const path = join(folder, 'dcmqrscp.cfg');
    writeFileSync(path, configuration);
    const child = spawn('dcmqrscp', ['-c', path], { stdio: 'ignore' });
    await whenOpen(port, child);
    return new Dcmqrscp(port, child, folder);
  }

  async put(...instances: readonly Instance[]): Promise<void> {
    for (const each of instances) {
      const status = await send(this.port, each, { calledAe: this.aeTitle, fragment: 16_000 });
      if (status !== '0x0000') throw new Error(`dcmqrscp refused an instance: ${status}`);
    }
  }

  async close(): Promise<void> {
    await endProcess(this.#process);
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
