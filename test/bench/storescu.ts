/** DCMTK's sender, for folders of files. */
import { type Environment, pduBytesMax, run } from '../peers/dicom/dcmtk.ts';
import type { Slices } from './dicom-images.ts';

export interface Receiver {
  readonly port: number;
  readonly calledAe: string;
}

/** An association each, at the same time. @throws when one of the files was not answered with success */
export async function sendSlices({ folders }: Slices, to: Receiver, env: Environment): Promise<void> {
  await Promise.all(folders.map((folder) => sendFolder(folder, to, env)));
}

async function sendFolder(folder: string, { port, calledAe }: Receiver, env: Environment): Promise<void> {
  const pdu = ['--max-pdu', '--max-send-pdu'].flatMap((option) => [option, String(pduBytesMax)]);
  const { code, said } = await run(
    'storescu',
    ['-aec', calledAe, ...pdu, '+sd', '127.0.0.1', String(port), folder],
    env,
  );
  if (code !== 0 || said !== '') throw new Error(`storescu ended with ${code}: ${said}`);
}

/** What others have written is on the disk by then: nobody has to sync what is not its own. */
export async function settleDisk(): Promise<void> {
  await run('sync', []);
}
