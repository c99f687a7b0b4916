# Every request of fog's first-generation compute (JSON), each asserted.   fog_tour.rb AUTH_URL USER API_KEY
require "fog/core"
Fog::Logger[:deprecation] = nil
require "fog/rackspace"

auth, user, key = ARGV
fog = Fog::Compute::Rackspace.new(rackspace_username: user, rackspace_api_key: key, rackspace_auth_url: auth)
requests = Fog::Compute::Rackspace.requests.map(&:last)
called = []
fog.singleton_class.prepend(Module.new do
  requests.each do |name|
    define_method(name) { |*args, **options| called << name; options.empty? ? super(*args) : super(*args, options) }
  end
end)

def same(found, expected)
  raise "#{found.inspect} is not #{expected.inspect}" unless found == expected
end

def settled(fog, id, status = "ACTIVE")
  deadline = Process.clock_gettime(Process::CLOCK_MONOTONIC) + 60
  until (server = fog.get_server_details(id).body["server"])["status"] == status
    raise "#{server} is not #{status}" if Process.clock_gettime(Process::CLOCK_MONOTONIC) > deadline
  end
  server
end

def gone?(fog, id)
  fog.get_server_details(id)
  false
rescue Fog::Compute::Rackspace::NotFound
  true
end

same fog.list_flavors.body["flavors"][1], { "id" => 2, "name" => "512 MB Server" }
same fog.list_flavors_detail.body["flavors"][0], { "id" => 1, "name" => "256 MB Server", "ram" => 256, "disk" => 10 }
same fog.get_flavor_details(3).body["flavor"]["ram"], 1024
same fog.flavors.get(2).ram, 512
same fog.list_images.body["images"].map { |image| image["id"] }, [1]
same fog.list_images_detail.body["images"][0]["status"], "ACTIVE"
same fog.get_image_details(1).body["image"]["id"], 1
same fog.list_servers.body["servers"], []

created = fog.create_server(1, 1, "name" => "first", "metadata" => { "role" => "web" },
                                  "personality" => [{ "path" => "/etc/banner.txt", "contents" => "hello\n" * 100 }])
server = created.body["server"]
same [created.status, server["name"], server["status"], server["metadata"]], [202, "first", "BUILD", { "role" => "web" }]
id = server["id"]
server = settled(fog, id)
same fog.list_servers.body["servers"], [{ "id" => id, "name" => "first" }]
same fog.list_servers_detail.body["servers"], [server]
same fog.list_addresses(id).body["addresses"], server["addresses"]
same fog.list_public_addresses(id).body["public"], server["addresses"]["public"]
same fog.list_private_addresses(id).body["private"], server["addresses"]["private"]
same fog.update_server(id, "name" => "renamed", "adminPass" => "correct-horse").status, 204
same settled(fog, id)["name"], "renamed"
same fog.reboot_server(id).status, 202
settled(fog, id)
same fog.reboot_server(id, "HARD").status, 202
settled(fog, id)
same fog.server_action(id, { "rebuild" => { "imageId" => 1 } }).status, 202
settled(fog, id)
same fog.resize_server(id, 2).status, 202
settled(fog, id, "VERIFY_RESIZE")
same fog.confirm_resized_server(id).status, 204
same settled(fog, id)["flavorId"], 2
fog.resize_server(id, 3)
settled(fog, id, "VERIFY_RESIZE")
same fog.revert_resized_server(id).status, 202
same settled(fog, id)["flavorId"], 2

image = fog.create_image(id, "name" => "saved").body["image"]
same [image["name"], image["serverId"]], ["saved", id]
fog.images.get(image["id"]).wait_for(60, 0) { ready? }
same fog.delete_image(image["id"]).status, 204
same fog.delete_server(id).status, 202
deadline = Process.clock_gettime(Process::CLOCK_MONOTONIC) + 60
raise "it is not gone" if Process.clock_gettime(Process::CLOCK_MONOTONIC) > deadline until gone?(fog, id)

model = fog.servers.create(name: "modelled", flavor_id: 1, image_id: 1)
model.wait_for(60, 0) { ready? }
same [model.name, model.flavor.ram, model.image.id], ["modelled", 256, 1]
model.destroy
same requests - called, []
puts "fog: #{called.uniq.size} requests"
