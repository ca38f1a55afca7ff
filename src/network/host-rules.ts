/**
 * The embedded network's rules in the host's packet filter: one masquerade rule for each subnet instead of one for each
 * pod, and leave to forward, in chains named after the bridge (two instances have two bridges, so two sets of chains).
 *
 * They outlive the daemon, as pods do. Putting them in place again changes nothing: a chain of ours is replaced as a
 * whole, and the jump to it is added only where it is missing.
 */
import { CairnError } from '../base/errors.ts';
import { failpoint } from '../base/failpoint.ts';
import { formatSubnet, type Subnet } from './cidr.ts';
import { runCommand, tryCommand } from './command.ts';

export interface HostRules {
  /** Puts chains and jumps in place. */
  ensure(): Promise<void>;
  /** Are they (still) there? Something else, such as a firewall's reload, may have swept them away. */
  present(): Promise<boolean>;
  remove(): Promise<void>;
}

export interface HostRulesOptions {
  /** Name of the network, for the rules' comment. */
  readonly name: string;
  readonly bridge: string;
  readonly subnets: readonly Subnet[];
}

/** Seconds to wait for the lock that all users of iptables share. */
const LOCK_WAIT_SECONDS = '10';

/** Of one rule, when rules are taken away. */
const COPIES_MAX = 16;

export function createHostRules({ name, bridge, subnets }: HostRulesOptions): HostRules {
  const chain = `CAIRN-${bridge}`;
  const comment = `cairn network ${name}`;
  const jumps = [
    { table: 'nat', from: 'POSTROUTING' },
    // At the end: what the host's operator forbids stays forbidden, a policy of DROP does not stop pods.
    { table: 'filter', from: 'FORWARD' },
  ].map(({ table, from }) => ({
    table,
    rule: [from, '-m', 'comment', '--comment', comment, '-j', chain],
  }));

  return {
    async ensure() {
      for (const subnet of subnets) {
        const command = commandFor(subnet);
        await runCommand(`${command}-restore`, ['-w', LOCK_WAIT_SECONDS, '--noflush'], chainsFor(subnet));
        await failpoint('network.rules.chains');
        for (const { table, rule } of jumps) {
          const exists = await succeeds(command, ['-t', table, '-C', ...rule]);
          if (!exists) await runCommand(command, ['-w', LOCK_WAIT_SECONDS, '-t', table, '-A', ...rule]);
        }
      }
    },
    async present() {
      for (const subnet of subnets) {
        const command = commandFor(subnet);
        for (const { table, rule } of jumps) {
          if (!(await succeeds(command, ['-t', table, '-C', ...rule]))) return false;
        }
      }
      return true;
    },
    async remove() {
      for (const subnet of subnets) {
        const command = commandFor(subnet);
        for (const { table, rule } of jumps) {
          // Each may be gone already, or there twice by somebody's restore; the chain must be gone at the end.
          for (let copies = 0; copies < COPIES_MAX; copies++) {
            if (!(await succeeds(command, ['-t', table, '-D', ...rule]))) break;
          }
          await succeeds(command, ['-t', table, '-F', chain]);
          await succeeds(command, ['-t', table, '-X', chain]);
          if (!(await succeeds(command, ['-t', table, '-S', chain]))) continue;
          throw new CairnError('Internal', `${command}: chain ${chain} of table ${table} can't be removed`, {
            step: 'network.teardown',
          });
        }
      }
    },
  };

  /** Input of iptables-restore: naming a chain there empties it, and each table changes in one step. */
  function chainsFor(subnet: Subnet): string {
    const pods = formatSubnet(subnet);
    const multicast = subnet.family === 4 ? '224.0.0.0/4' : 'ff00::/8';
    return [
      '*nat',
      `:${chain} - [0:0]`,
      `-A ${chain} -s ${pods} -d ${pods} -j RETURN`,
      `-A ${chain} -s ${pods} ! -d ${multicast} -j MASQUERADE`,
      'COMMIT',
      '*filter',
      `:${chain} - [0:0]`,
      `-A ${chain} -i ${bridge} -j ACCEPT`,
      `-A ${chain} -o ${bridge} -m conntrack --ctstate RELATED,ESTABLISHED,DNAT -j ACCEPT`,
      'COMMIT',
      '',
    ].join('\n');
  }
}

function commandFor(subnet: Subnet): string {
  return subnet.family === 4 ? 'iptables' : 'ip6tables';
}

async function succeeds(command: string, args: readonly string[]): Promise<boolean> {
  return (await tryCommand(command, ['-w', LOCK_WAIT_SECONDS, ...args])).succeeded;
}
