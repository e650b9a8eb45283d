import { version } from '../base/version.ts';
import { defineVerb } from './verb.ts';

export const verb = defineVerb({
  usage: '',
  about: 'Shows the version of Kakehashi and of the runtime under it.',
  options: {},
  positionals: { min: 0, max: 0 },
  run: async (_values, _positionals, { terminal }) => {
    terminal.say(`kakehashi ${version} (node ${process.versions.node}, ${process.platform} ${process.arch})`);
    terminal.result({ version, node: process.versions.node, platform: process.platform, arch: process.arch });
    return 0;
  },
});
