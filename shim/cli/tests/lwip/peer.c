/*
 * A device on lwIP: the peer of the command's tests (shim/cli/tests/cli/lwip.rs).
 *
 *     peer TAP COPY sink             reads to the FIN, then closes
 *     peer TAP COPY half-close N     reads N bytes, sends a FIN, reads to the FIN
 *     peer TAP COPY close N          reads N bytes, then tcp_close: a FIN
 *     peer TAP COPY close-unread N   waits for N bytes, reads none, tcp_close: a RST
 *     peer TAP COPY reset N          reads N bytes, then tcp_abort: a RST
 *     peer TAP COPY restart N ROLE   reads N bytes, acknowledges them, then restarts
 *                                    as ROLE, with the same addresses and no memory
 *     peer TAP COPY refuse           does not listen
 *
 * N is reached with the segment that holds the Nth byte. TAP is an interface that
 * exists. What the application reads is appended to COPY. On stdout:
 *
 *     ready                          can be connected to (or refuses)
 *     took application=A tcp=T       written before the segment that ends the
 *                                    connection can leave: the bytes that the
 *                                    application has read, and those by which
 *                                    lwIP's TCP has advanced RCV.NXT. Data that
 *                                    lwIP throws away after tcp_close is not in it
 *
 * lwIP calls these functions in a thread of its own. The main thread only reads
 * frames from the TAP and queues them for that thread. So no data needs a lock.
 *
 * lwIP's tapif is not used: as Debian builds lwIP 2.1.3, a frame of more than 592
 * octets overruns the buffer that tapif allocates (PBUF_POOL).
 */

#include <fcntl.h>
#include <inttypes.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <lwip/etharp.h>
#include <lwip/pbuf.h>
#include <lwip/tcp.h>
#include <lwip/tcpip.h>
#include <lwip/timeouts.h>
#include <netif/ethernet.h>

enum {
    PORT = 5000,
    /* No test waits longer. The alarm survives a restart. */
    SECONDS_TO_LIVE = 60,
    MTU = 1500,
    LONGEST_FRAME = MTU + 14
};

static const uint8_t HARDWARE_ADDRESS[ETH_HWADDR_LEN] = {0x02, 0, 0, 0x77, 0, 0x09};

/* The command line. */
static char *program;
static char *tap;
static char *copy_path;
static char *role;
static uint32_t threshold;
static char *role_after_restart;

static int copy; /* the descriptors */
static int device;
static struct netif interface;

/* The one connection. */
static struct {
    uint32_t first_sequence_number; /* of the data, after the SYN */
    uint32_t application;           /* bytes read */
    uint32_t tcp;                   /* bytes that RCV.NXT has passed */
    int is_ended;                   /* the role has been played */
} connection;

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static int plays(const char *name)
{
    return strcmp(role, name) == 0;
}

static void report(void)
{
    printf("took application=%" PRIu32 " tcp=%" PRIu32 "\n", connection.application,
           connection.tcp);
    fflush(stdout);
}

/* Appends what has arrived to the copy. */
static void read_data(const struct pbuf *data)
{
    for (; data != NULL; data = data->next) {
        if (write(copy, data->payload, data->len) != (ssize_t)data->len)
            die(copy_path);
        connection.application += data->len;
    }
}

/* The peer's FIN advances RCV.NXT, but is no byte. */
static uint32_t bytes_taken_by_tcp(const struct tcp_pcb *pcb)
{
    uint32_t has_fin = pcb->state >= CLOSE_WAIT;

    return pcb->rcv_nxt - connection.first_sequence_number - has_fin;
}

/* Replaces this process by a new one: TCP's state and every thread are gone, and
 * the TAP is opened again. */
static void restart(void *unused)
{
    LWIP_UNUSED_ARG(unused);
    report();
    execl(program, program, tap, copy_path, role_after_restart, (char *)NULL);
    die(program);
}

/* N bytes have arrived: ends the connection as the role requires. */
static err_t end(struct tcp_pcb *pcb)
{
    connection.is_ended = 1;
    if (plays("restart")) {
        /* The ACK leaves when lwIP is done with this segment, and the timeout
         * runs before it takes the next one. */
        tcp_set_flags(pcb, TF_ACK_NOW);
        sys_timeout(0, restart, NULL);
        return ERR_OK;
    }
    if (plays("half-close"))
        return tcp_shutdown(pcb, 0, 1);
    report();
    if (plays("reset")) {
        tcp_abort(pcb);
        return ERR_ABRT;
    }
    /* "close" and "close-unread": lwIP resets if its window is not fully open. */
    tcp_recv(pcb, NULL);
    return tcp_close(pcb);
}

/* Data in sequence has arrived, or if there is none, the peer's FIN. */
static err_t on_received(void *unused, struct tcp_pcb *pcb, struct pbuf *data, err_t error)
{
    LWIP_UNUSED_ARG(unused);
    LWIP_UNUSED_ARG(error);
    connection.tcp = bytes_taken_by_tcp(pcb);
    if (data == NULL) {
        report();
        return tcp_close(pcb);
    }
    if (!plays("close-unread")) {
        read_data(data);
        tcp_recved(pcb, data->tot_len);
    }
    pbuf_free(data);
    if (!plays("sink") && !connection.is_ended && connection.tcp >= threshold)
        return end(pcb);
    return ERR_OK;
}

static err_t on_accepted(void *unused, struct tcp_pcb *pcb, err_t error)
{
    LWIP_UNUSED_ARG(unused);
    if (error != ERR_OK || pcb == NULL)
        return ERR_VAL;
    connection.first_sequence_number = pcb->rcv_nxt;
    tcp_recv(pcb, on_received);
    return ERR_OK;
}

static void listen_on_port(void)
{
    struct tcp_pcb *pcb = tcp_new();

    if (pcb == NULL || tcp_bind(pcb, IP4_ADDR_ANY, PORT) != ERR_OK)
        die("tcp_bind");
    pcb = tcp_listen(pcb);
    if (pcb == NULL)
        die("tcp_listen");
    tcp_accept(pcb, on_accepted);
}

/* Sends a frame. If the TAP does not take it, it is lost. */
static err_t transmit(struct netif *unused, struct pbuf *packet)
{
    uint8_t frame[LONGEST_FRAME];
    uint16_t length = pbuf_copy_partial(packet, frame, sizeof frame, 0);

    LWIP_UNUSED_ARG(unused);
    return write(device, frame, length) == (ssize_t)length ? ERR_OK : ERR_IF;
}

/* Queues the frames of the TAP for lwIP's thread, until the alarm. */
static void receive(void)
{
    uint8_t frame[LONGEST_FRAME];

    for (;;) {
        ssize_t length = read(device, frame, sizeof frame);
        struct pbuf *packet;

        if (length < 0)
            die(tap);
        packet = pbuf_alloc(PBUF_RAW, (uint16_t)length, PBUF_RAM);
        if (packet == NULL || pbuf_take(packet, frame, (uint16_t)length) != ERR_OK)
            die("pbuf");
        if (tcpip_inpkt(packet, &interface, ethernet_input) != ERR_OK)
            pbuf_free(packet); /* the queue is full: the frame is lost */
    }
}

static void open_tap(void)
{
    struct ifreq request;

    device = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
    if (device < 0)
        die("/dev/net/tun");
    memset(&request, 0, sizeof request);
    request.ifr_flags = IFF_TAP | IFF_NO_PI;
    strncpy(request.ifr_name, tap, sizeof request.ifr_name - 1);
    if (ioctl(device, TUNSETIFF, &request) < 0)
        die(tap);
}

static err_t start_interface(struct netif *netif)
{
    netif->name[0] = 't';
    netif->name[1] = 'p';
    netif->mtu = MTU;
    netif->hwaddr_len = ETH_HWADDR_LEN;
    memcpy(netif->hwaddr, HARDWARE_ADDRESS, ETH_HWADDR_LEN);
    netif->flags = NETIF_FLAG_BROADCAST | NETIF_FLAG_ETHARP | NETIF_FLAG_ETHERNET;
    netif->output = etharp_output;
    netif->linkoutput = transmit;
    return ERR_OK;
}

/* lwIP calls this in its thread when it is up. */
static void on_started(void *unused)
{
    ip4_addr_t address, netmask, gateway;

    LWIP_UNUSED_ARG(unused);
    IP4_ADDR(&address, 10, 77, 0, 1);
    IP4_ADDR(&netmask, 255, 255, 255, 0);
    IP4_ADDR(&gateway, 0, 0, 0, 0);
    if (netif_add(&interface, &address, &netmask, &gateway, NULL, start_interface,
                  tcpip_input) == NULL)
        die("netif_add");
    netif_set_default(&interface);
    netif_set_link_up(&interface);
    netif_set_up(&interface);
    if (!plays("refuse"))
        listen_on_port();
    puts("ready");
    fflush(stdout);
}

static int is_complete(int arguments)
{
    if (arguments < 4)
        return 0;
    if (plays("sink") || plays("refuse"))
        return arguments == 4;
    if (plays("restart"))
        return arguments == 6;
    return arguments == 5 && (plays("half-close") || plays("close") ||
                              plays("close-unread") || plays("reset"));
}

int main(int argc, char **argv)
{
    program = argv[0];
    role = argc > 3 ? argv[3] : "";
    if (!is_complete(argc)) {
        fprintf(stderr, "usage: %s TAP COPY ROLE [N [ROLE]]\n", program);
        return 2;
    }
    tap = argv[1];
    copy_path = argv[2];
    threshold = argc > 4 ? (uint32_t)strtoul(argv[4], NULL, 10) : 0;
    role_after_restart = argc > 5 ? argv[5] : NULL;

    alarm(SECONDS_TO_LIVE);
    copy = open(copy_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (copy < 0)
        die(copy_path);
    open_tap();
    tcpip_init(on_started, NULL);
    receive();
}
